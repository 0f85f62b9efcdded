// What the client verbs share about a job of the service.
// Threads: one thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "cli/api_client.h"
#include "cli/progress.h"

namespace seamwright::cli {

// "/v1/videos/ID" and more; refuses ids with characters that no id has.
std::string video_target(const std::string& id, const std::string& more = "");
// Shows progress until the job is final; returns it.
nlohmann::json wait_for_job(ApiClient& client, const std::string& id, ProgressPrinter& progress);
// "96 frames, first after 2.1 s, 11.3 frames/s, latents sha256 ..."
std::string result_line(const nlohmann::json& video);
// Other people's text as a terminal may show it: control characters, which could make it do things,
// replaced; line breaks as spaces.
std::string printable(std::string_view text);
bool is_final(const nlohmann::json& video);

}  // namespace seamwright::cli

// From durable segments to the one file a client fetches.
// Threads: safe anywhere on different files.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/request.h"

namespace seamwright::coordinator {

// Joins without encoding again; the file is durable and complete, or not there. `result` is what the
// gang said at its end: {"software", "models"}.
void join_video(const std::vector<std::filesystem::path>& segments,
                const std::filesystem::path& out, const JobRequest& request,
                const nlohmann::json& result);

}  // namespace seamwright::coordinator

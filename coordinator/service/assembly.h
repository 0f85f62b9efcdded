// From durable segments to the one file a client fetches.
// Threads: safe anywhere on different files.
#pragma once

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/request.h"

namespace seamwright::coordinator {

// Joins without encoding again; the file is durable and complete, or not there. `result` is what
// the gang said at its end: {"software", "models"}. Throws
// kCancelled soon after `stop` has become true.
void join_video(const std::vector<std::filesystem::path>& segments,
                const std::filesystem::path& out, const JobRequest& request,
                const nlohmann::json& result, const std::atomic<bool>& stop);

}  // namespace seamwright::coordinator

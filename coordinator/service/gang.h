// A gang as the service sees it. Private to the service.
// Threads: the service's thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "comm/control/link.h"

namespace seamwright::coordinator {

using SteadyTime = std::chrono::steady_clock::time_point;

// Until a gang says what it does.
inline constexpr const char* kStarting = "starting";

struct Gang {
  std::string name;
  std::string instance;  // drawn by its process: a new process under the same name is another gang
  std::optional<comm::ControlServer::ClientId> client;  // none while the link is down
  nlohmann::json about;
  std::vector<std::string> models;
  std::string loaded_model;
  int ranks = 1;
  bool draining = false;

  std::string job;  // "" = idle
  int attempt = 0;
  bool start_unsaved = false;  // the attempt is not durable yet
  bool cancel_sent = false;
  bool kill_sent = false;
  std::string phase;        // "loading", "running", ...
  double share_before = 0;  // of the job, done by earlier attempts
  SteadyTime lost_since{}, attempt_since{}, progress_since{}, cancel_since{};
  std::int64_t joined_at = 0;  // Unix seconds
  std::int64_t jobs_done = 0;

  bool has_reported() const { return !phase.empty() && phase != kStarting; }
  bool idle() const { return client && job.empty(); }
};

// What a gang says of itself when it joins; throws kInvalidArgument when something is missing.
Gang gang_from(const nlohmann::json& about);

}  // namespace seamwright::coordinator

// A gang at the service of a coordinator: waits for attempts, runs them, reports, and goes on.
// Threads: run() blocks its thread, one per rank; rank 0 has a link with threads of its own.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/fabric.h"
#include "worker/gang_link.h"
#include "worker/generate.h"

namespace seamwright::worker {

struct GangOptions {
  GangLinkOptions link;
  std::string name;                 // told apart from other gangs by it
  std::vector<std::string> models;  // that this gang can find
  std::function<std::filesystem::path(const std::string& model)> find_model;
  scheduling::Layout layout;
  int threads = 0;        // of one rank; 0 = all cores
  int rank_on_host = -1;  // as in GenerateOptions, and the next
  std::string fabric_note;
  std::string costs = "auto";     // as in GenerateOptions
  std::filesystem::path scratch;  // a folder of this process's own
  // The gang must not go on (no coordinator for the lease): ends the process.
  std::function<void(const std::string& why)> end_process;
};

// What the gang computes with; equal gangs give equal bits.
std::string numerics_fingerprint(const std::string& device, const std::string& precision);

// Until the coordinator ends the gang. With a fabric every rank of it calls this, else the ranks
// are threads of this process. Throws kUnavailable when the gang has to be started again.
void run_gang(const GangOptions& options, comm::Fabric* fabric);

}  // namespace seamwright::worker

// One request in one layout, run over threads of this process or over MPI, held against one rank
// and against its plan.
// Threads: one run at a time.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "worker/generate.h"

namespace seamwright {

enum class Carrier {
  kThreads,  // over loopback
  kMpi,      // one process a rank, one job after another
};

bool can_run(Carrier carrier);

// The reports of requests that are all of one layout; over MPI one gang runs them one after
// another.
std::vector<nlohmann::json> reports_of(const std::vector<worker::GenerateOptions>& runs,
                                       Carrier carrier);

// Checks as GoogleTest expectations that each gave the bits of one rank with one thread in
// throughput order, and that every rank did what the plan says: tasks, evaluations, messages,
// bytes, weights, memory.
void expect_bits_of_one_rank(const std::vector<worker::GenerateOptions>& runs,
                             const std::vector<nlohmann::json>& reports);

// The report of a run through `seamwright generate --launcher mpirun`.
nlohmann::json report_of_program(const worker::GenerateOptions& options);

// The hash of the same request on one rank; made once per request.
std::string hash_of_one_rank(worker::GenerateOptions options);

}  // namespace seamwright

// How a gang scales: the real engine, fabric and plan with emulated compute, against the plan and
// the simulator. Every number of it is labelled as emulated.
// Threads: call from one thread; starts one per rank, or is one rank of a gang.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "comm/fabric.h"
#include "scheduling/plan.h"

namespace seamwright::bench {

struct ScalingCase {
  scheduling::Layout layout;
  int windows_per_group = 2;  // of 16 frames, 4 of them shared
  int steps = 20;
  int branches = 1;        // 2 with guidance
  double forward_ms = 50;  // one forward; a stage takes its share. 0: as fast as the engine can
  double jitter = 0;       // each visit's time is multiplied by 1 +- this
  std::uint64_t seed = 1;
  scheduling::Order order = scheduling::Order::kThroughput;
  bool spans = false;  // tell when every task ran
  // A rank's forwards take 1 / its speed as long; ranks that are not named have speed 1. The
  // planner knows of it only where it measures, as the worker does.
  std::vector<double> rank_speeds{};
  bool measured = false;

  double speed(int rank) const {
    const auto at = static_cast<std::size_t>(rank);
    return at < rank_speeds.size() ? rank_speeds[at] : 1.0;
  }
};

nlohmann::json to_json(const ScalingCase& run);
ScalingCase scaling_case_from_json(const nlohmann::json& document);

// All ranks as threads of this process over a loopback fabric; the plan is made once and shared.
nlohmann::json run_scaling_loopback(const ScalingCase& run);
// One rank of a gang; the result on rank 0, null elsewhere. `fabric` may be null for a gang of one.
nlohmann::json run_scaling_rank(const ScalingCase& run, int rank, comm::Fabric* fabric);

// The same windows with a barrier after each step: seconds. Stages are not divided.
double run_with_barrier(const ScalingCase& run);

}  // namespace seamwright::bench

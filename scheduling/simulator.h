// Discrete-event simulation of a plan: static orders and one message order, walked with other task
// times than were planned (jitter, slower ranks, stragglers), and with failures and resumes.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "scheduling/plan.h"
#include "scheduling/planner.h"

namespace seamwright::scheduling {

struct Straggler {
  int rank = 0;
  double from_s = 0.0;
  double until_s = 0.0;
  double slowdown = 2.0;
};

struct SimulationOptions {
  std::uint64_t seed = 1;
  double task_jitter = 0.0;        // each task's time is multiplied by 1 +- this, uniformly
  double link_jitter = 0.0;        // each message's
  double task_overhead_s = 0.0;    // from a task's end to the next ready start
  std::vector<double> rank_speed;  // true speeds, unknown to the planner; empty: as planned with
  std::optional<LinkCost> link;    // the true one, unknown to the planner; none: as planned with
  std::vector<Straggler> stragglers;
  std::vector<double> failures_s;  // the gang is lost at these moments
  double restart_s = 15.0;         // and computes again after this
  double durable_after_s = 0.01;   // a record is safe this long after the task that made it
  int output_segment_frames = 0;   // output is safe in whole segments of this length; 0: a chunk
};

struct Traffic {
  std::int64_t messages = 0;
  std::int64_t bytes = 0;
};

struct SimulationResult {
  double makespan_s = 0.0;
  double first_output_s = 0.0;
  double compute_s = 0.0;        // of all tasks that ran, at speed 1 of the table: T(1)
  double efficiency = 0.0;       // compute_s / (ranks * makespan_s)
  std::vector<double> busy_s;    // per rank
  double bubble_fraction = 0.0;  // share of the ranks' time without a task
  std::int64_t tasks = 0;
  std::int64_t forwards = 0;  // window evaluations, a pipeline of visits counted once
  std::map<DataKind, Traffic> traffic;
  std::vector<std::int64_t> live_bytes_max;
  std::int64_t redone_forwards = 0;  // after failures: evaluations that had been done before
  std::vector<std::string> reasons;
};

// Plans and simulates. Memory stays flat for long streaming videos.
SimulationResult simulate(const PlanRequest& request, const Layout& layout, const CostTable& costs,
                          const SimulationOptions& options = {},
                          const PlanOptions& plan_options = {});

// The same work with a barrier after each step, as most systems do it: every group waits for the
// slowest before any starts the next step. For layouts with one stage; same jitter for same tasks.
double barrier_makespan_s(const PlanRequest& request, const Layout& layout, const CostTable& costs,
                          const SimulationOptions& options = {});

// The factor that jitter gives a task; a function of seed and task alone.
double jitter_factor(std::uint64_t seed, double jitter, const Task& task);

}  // namespace seamwright::scheduling

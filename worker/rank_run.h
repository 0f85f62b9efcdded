// Runs one rank of a job from loading its share of the model to its last task; with a loopback
// fabric several ranks run as threads of this process.
// Threads: one RankRun per thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/fabric.h"
#include "model/backend.h"
#include "model/video_model.h"
#include "scheduling/measured_costs.h"
#include "scheduling/plan.h"
#include "worker/job.h"
#include "worker/task_runner.h"
#include "worker/wire_data.h"

namespace seamwright::worker {

class RankServices;

// What the ranks of one gang agree on before they start.
struct GangPlan {
  scheduling::PlanRequest request;
  scheduling::Layout layout;
  scheduling::CostTable costs;
  std::vector<Visit> visits;
  std::vector<CutLayout> cuts;  // what crosses after each visit but the last
  model::Shape prompt;          // of one prompt's embeddings
  std::vector<std::string> reasons;
  // Where the costs come from: counted, or also measured (cost_measurement.h).
  bool measured = false;
  std::string costs_reason;
  scheduling::MeasuredVisits measured_s{};  // by rank, for its own visits
};

// One decoded frame as it travels: the SHA-256 of its latent, then RGB8.
std::size_t picture_bytes(const Job& job);

// The plan request of a job; everything it says follows from the request.
scheduling::PlanRequest plan_request_for(const Job& job);

// A rank's counters after a run.
struct RankReport {
  std::int64_t tasks = 0, forwards = 0;
  std::int64_t bytes_sent = 0, bytes_received = 0;  // of the plan's messages, counted in the fabric
  std::int64_t messages_sent = 0;
  std::int64_t peak_live_bytes = 0, planned_live_bytes = 0;
  std::uint64_t plan_hash = 0;
  // Of the thread that runs tasks. On a device decoding is only
  // begun there, and evaluations wait for it.
  double forward_seconds = 0, decode_seconds = 0;
  double fuse_seconds = 0;         // guidance, fusion and sampler steps
  double record_wait_seconds = 0;  // for records to become durable
  // From a task's end to the next one's start where nothing had to be waited for.
  std::int64_t back_to_back_tasks = 0;
  double back_to_back_seconds = 0;
  std::int64_t resident_weight_bytes = 0, peak_memory_bytes = 0;
  std::int64_t peak_device_bytes = 0;  // of a GPU's memory
};

struct RankHooks {
  TaskHooks tasks;
  std::function<void(const scheduling::PlannedTask&)> task_done;
  std::function<void(const scheduling::PlannedTask&, std::chrono::steady_clock::time_point begin,
                     std::chrono::steady_clock::time_point end)>
      task_timed;
  const std::atomic<bool>* stop = nullptr;
  RankServices* services = nullptr;  // null: tasks and nothing beside them
};

// Runs all tasks of one rank that `resume` leaves. `stage` is its part of `model`; `fabric` may be
// null for a gang of one.
RankReport run_rank(int rank, const Job& job, const GangPlan& plan,
                    const scheduling::ResumeState& resume, const model::VideoModel& model,
                    StageModel& stage, model::Exec exec, comm::Fabric* fabric,
                    const RankHooks& hooks);

}  // namespace seamwright::worker

#include "scheduling/planner.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "scheduling/causal_driver.h"
#include "scheduling/list_scheduler.h"
#include "scheduling/local_driver.h"
#include "scheduling/needs.h"
#include "scheduling/placement.h"

namespace seamwright::scheduling {
namespace {

std::vector<std::string> explain(const PlanRequest& r, const Layout& layout, const CostTable& costs,
                                 const ResumeState& resume) {
  std::vector<std::string> reasons;
  reasons.push_back(fmt::format("layout: {} group(s) of {} {}stage(s), {} rank(s)", layout.groups,
                                layout.stages, layout.folded ? "folded " : "", layout.ranks()));
  reasons.push_back(explain_placement(r, layout));
  const auto speeds = group_speeds(layout, costs);
  const auto [slowest, fastest] = std::minmax_element(speeds.begin(), speeds.end());
  if (*slowest < *fastest) {
    reasons.push_back(fmt::format(
        "placement: weighted, the slowest group runs at {:.3f} and the fastest at {:.3f}", *slowest,
        *fastest));
  }
  const WindowSchedule schedule(r.windows);
  const auto windows = schedule.is_endless() ? kEndless : windows_to_denoise(schedule, 1);
  if (windows < layout.groups) {
    reasons.push_back(
        fmt::format("{} window(s) for {} groups: some groups only wait", windows, layout.groups));
  }
  if (r.order == Order::kStreaming) {
    reasons.push_back(fmt::format("streaming: at most {} windows are under way at a time",
                                  streaming_band(r, layout)));
  }
  if (r.coherence == Coherence::kCausal) {
    const int parallel = (r.steps + r.lag - 1) / r.lag;
    reasons.push_back(
        fmt::format("causal: at most {} windows run at the same time ({} steps, {} apart)",
                    parallel, r.steps, r.lag));
    if (parallel < layout.groups) {
      reasons.push_back(fmt::format("causal: {} groups are more than can be busy", layout.groups));
    }
  }
  if (!resume.empty()) {
    reasons.push_back(fmt::format("resume: output is missing from frame {}, {} durable record(s)",
                                  resume.first_missing_frame, resume.records.size()));
  }
  return reasons;
}

}  // namespace

struct Planner::State {
  State(const PlanRequest& request, const Layout& layout, const CostTable& costs,
        const ResumeState& resume, const PlanOptions& plan_options)
      : options(plan_options),
        fixed_bytes(costs.sizes.fixed_bytes),
        stages(layout.stages),
        scheduler(layout, costs, plan_options),
        reasons(explain(request, layout, costs, resume)) {
    if (request.coherence == Coherence::kCausal) {
      driver = std::make_unique<CausalDriver>(scheduler, request, layout, costs, resume);
    } else {
      driver = std::make_unique<LocalDriver>(scheduler, request, layout, costs, resume);
    }
  }

  PlanOptions options;
  std::vector<std::int64_t> fixed_bytes;
  int stages;
  ListScheduler scheduler;
  std::unique_ptr<Driver> driver;
  std::vector<std::string> reasons;
  std::vector<std::int64_t> live_bytes_max;
};

Planner::Planner(const PlanRequest& request, const Layout& layout, const CostTable& costs,
                 const ResumeState& resume, const PlanOptions& options) {
  validate(request);
  validate(costs, layout);
  require(
      options.chunk_tasks > 0 && options.slack_tasks >= 0 && options.activation_slack_tasks >= 0,
      "plan options must not be negative");
  state_ = std::make_unique<State>(request, layout, costs, resume, options);
  state_->driver->start();
}

Planner::~Planner() = default;
Planner::Planner(Planner&&) noexcept = default;
Planner& Planner::operator=(Planner&&) noexcept = default;

bool Planner::done() const { return state_->driver->complete() && state_->scheduler.drained(); }

PlanChunk Planner::next_chunk() {
  if (done()) return {};
  state_->scheduler.run(*state_->driver, state_->options.chunk_tasks);
  ensure(!state_->scheduler.drained() || state_->driver->complete(),
         "the plan ends before the video does");
  return state_->scheduler.take();
}

std::uint64_t Planner::hash() const { return state_->scheduler.hash(); }

const std::vector<std::int64_t>& Planner::live_bytes_max() const {
  auto& bytes = state_->live_bytes_max;
  bytes = state_->scheduler.live_bytes_max();
  for (std::size_t rank = 0; rank < bytes.size(); ++rank) {
    bytes[rank] += state_->fixed_bytes[rank % static_cast<std::size_t>(state_->stages)];
  }
  return bytes;
}

std::int64_t Planner::planned_ns() const { return state_->scheduler.end_ns(); }

const std::vector<std::string>& Planner::reasons() const { return state_->reasons; }

Plan make_plan(const PlanRequest& request, const Layout& layout, const CostTable& costs,
               const ResumeState& resume, const PlanOptions& options) {
  require(request.windows.frames != kEndless, "an endless video has no whole plan");
  Planner planner(request, layout, costs, resume, options);
  Plan plan;
  plan.request = request;
  plan.layout = layout;
  plan.ranks.resize(static_cast<std::size_t>(layout.ranks()));
  while (!planner.done()) {
    PlanChunk chunk = planner.next_chunk();
    for (auto& task : chunk.tasks) {
      plan.ranks[static_cast<std::size_t>(task.rank)].push_back(std::move(task));
    }
    for (auto& message : chunk.messages) plan.messages.push_back(std::move(message));
  }
  plan.live_bytes_max = planner.live_bytes_max();
  plan.makespan_ns = planner.planned_ns();
  plan.hash = planner.hash();
  plan.reasons = planner.reasons();
  return plan;
}

}  // namespace seamwright::scheduling

// The planner: list scheduling of a video's step graph into one static task order per rank and one
// global message order. A pure function of request, layout, cost table and what is already done.
// Threads: one Planner per thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "scheduling/plan.h"
#include "scheduling/resume.h"

namespace seamwright::scheduling {

struct PlanOptions {
  int chunk_tasks = 4096;  // tasks handed out at a time
  // How many tasks ahead of the planned moment a rank may take a message in, and how many tasks
  // later than planned a send may still be under way. More tolerates more jitter, and costs memory.
  int slack_tasks = 32;
  int activation_slack_tasks = 4;  // for what crosses stage cuts, the largest messages
  // Predictions from other groups are planned to come later by this share of a visit, so that the
  // order prefers windows whose neighbours finished a while ago: those forgive jitter.
  double arrival_margin = 0.5;
  // Activations likewise, by a much smaller share. Where two windows come to a stage at one moment,
  // the order should not be that of an exact clock: what travels in no time in the plan does not.
  double activation_margin = 0.05;
};

class Planner {
 public:
  // Throws kUnsupported or kInvalidArgument with the reason when the request cannot be planned.
  Planner(const PlanRequest& request, const Layout& layout, const CostTable& costs,
          const ResumeState& resume = {}, const PlanOptions& options = {});
  ~Planner();
  Planner(Planner&&) noexcept;
  Planner& operator=(Planner&&) noexcept;

  // True when every task was handed out. Never, for an endless video.
  bool done() const;
  // The next tasks and messages. Memory stays flat however long the video is (streaming order).
  PlanChunk next_chunk();

  // Of what was handed out so far: equal on every rank that plans the same.
  std::uint64_t hash() const;
  // Per rank: bytes alive at most in any legal execution of what was handed out so far.
  const std::vector<std::int64_t>& live_bytes_max() const;
  std::int64_t planned_ns() const;
  // Why the plan is as it is, one decision a line.
  const std::vector<std::string>& reasons() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The whole plan of a video with an end.
Plan make_plan(const PlanRequest& request, const Layout& layout, const CostTable& costs,
               const ResumeState& resume = {}, const PlanOptions& options = {});

}  // namespace seamwright::scheduling

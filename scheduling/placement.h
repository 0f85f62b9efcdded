// Which pipeline group denoises which window.
// Threads: one object per thread (it extends a list on demand).
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "scheduling/plan.h"

namespace seamwright::scheduling {

enum class PlacementKind {
  kBlock,   // consecutive windows together: fewest boundaries between groups
  kCyclic,  // window by window in turn: a group's own windows do not wait for each other
};

// Throughput with one stage: block. Pipelines, streaming and causal coherence: cyclic.
PlacementKind choose_placement(const PlanRequest& request, const Layout& layout);
std::string explain_placement(const PlanRequest& request, const Layout& layout);

// Speed of each group: of its slowest rank, since every micro-batch visits all of them.
std::vector<double> group_speeds(const Layout& layout, const CostTable& costs);

// Splits `count` windows into consecutive runs so that the last group is done as early as the
// speeds allow; returns the first window of each group and, last, `count`.
std::vector<int> weighted_blocks(int count, const std::vector<double>& speeds);

class Placement {
 public:
  Placement(const PlanRequest& request, const Layout& layout, const CostTable& costs);

  // The group of window `id` of step `step`, windows as WindowSchedule lists them.
  int group(int step, int id);
  // Windows below `id` will not be asked for again (static schedules).
  void forget_before(int id);

 private:
  const std::vector<int>& listed(int step);
  // Windows below a static one that are not idle.
  int busy_before(int id) const;

  PlanRequest request_;
  WindowSchedule schedule_;
  PlacementKind kind_;
  std::vector<double> speeds_;
  bool equal_speeds_ = true;
  std::vector<int> blocks_;              // static, block: of the windows that are not idle
  std::vector<int> busy_before_;         // static with given frames: such windows below each
  std::vector<std::vector<int>> steps_;  // schedules that vary: group per window
  std::deque<int> dealt_;                // cyclic, weighted: groups of windows first_ ..
  int first_ = 0;
  std::vector<std::int64_t> counts_;
};

}  // namespace seamwright::scheduling

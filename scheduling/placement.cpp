#include "scheduling/placement.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

#include "base/error.h"

namespace seamwright::scheduling {

PlacementKind choose_placement(const PlanRequest& request, const Layout& layout) {
  if (request.order == Order::kStreaming || request.coherence == Coherence::kCausal) {
    return PlacementKind::kCyclic;
  }
  if (request.windows.schedule != ScheduleKind::kStatic) return PlacementKind::kBlock;
  return layout.stages == 1 ? PlacementKind::kBlock : PlacementKind::kCyclic;
}

std::string explain_placement(const PlanRequest& request, const Layout& layout) {
  if (layout.groups == 1) return "placement: one group has every window";
  if (request.coherence == Coherence::kCausal) {
    return "placement: cyclic, since consecutive windows run at the same time, one lag apart";
  }
  if (request.order == Order::kStreaming) {
    return "placement: cyclic, since the windows of the next frames are due at the same time";
  }
  if (request.windows.schedule != ScheduleKind::kStatic) {
    return "placement: block by first frame, so that little moves when the windows shift";
  }
  if (layout.stages == 1) return "placement: block, the fewest boundaries between groups";
  return "placement: cyclic, since neighbouring windows in one pipeline would wait for each other";
}

std::vector<double> group_speeds(const Layout& layout, const CostTable& costs) {
  std::vector<double> speeds;
  for (int group = 0; group < layout.groups; ++group) {
    double slowest = costs.speed(layout.home_rank(group));
    for (int visit = 1; visit < layout.stages; ++visit) {
      slowest = std::min(slowest, costs.speed(layout.rank_of(group, visit)));
    }
    speeds.push_back(slowest);
  }
  return speeds;
}

std::vector<int> weighted_blocks(int count, const std::vector<double>& speeds) {
  // Window after window to the group that would be done first with it: no other sizes end earlier.
  std::vector<int> sizes(speeds.size(), 0);
  using Next = std::pair<double, std::size_t>;  // done with one more, then lowest group
  std::priority_queue<Next, std::vector<Next>, std::greater<>> next;
  for (std::size_t g = 0; g < speeds.size(); ++g) next.emplace(1 / speeds[g], g);
  for (int dealt = 0; dealt < count; ++dealt) {
    const std::size_t g = next.top().second;
    next.pop();
    ++sizes[g];
    next.emplace((sizes[g] + 1) / speeds[g], g);
  }
  std::vector<int> first{0};
  for (const int size : sizes) first.push_back(first.back() + size);
  return first;
}

Placement::Placement(const PlanRequest& request, const Layout& layout, const CostTable& costs)
    : request_(request),
      schedule_(request.windows),
      kind_(choose_placement(request, layout)),
      speeds_(group_speeds(layout, costs)),
      counts_(speeds_.size(), 0) {
  equal_speeds_ = std::all_of(speeds_.begin(), speeds_.end(),
                              [&](double speed) { return speed == speeds_.front(); });
  if (!schedule_.is_static() || speeds_.size() == 1) return;
  int busy = schedule_.window_count(0);
  if (!request.windows.given.empty()) {
    const int count = std::exchange(busy, 0);
    for (int id = 0; id < count; ++id) {
      busy_before_.push_back(busy);
      busy += schedule_.idle(0, id) ? 0 : 1;
    }
  }
  if (kind_ == PlacementKind::kBlock) blocks_ = weighted_blocks(busy, speeds_);
}

int Placement::busy_before(int id) const {
  return busy_before_.empty() ? id : busy_before_[static_cast<std::size_t>(id)];
}

int Placement::group(int step, int id) {
  if (speeds_.size() == 1) return 0;
  if (!schedule_.is_static()) return listed(step)[static_cast<std::size_t>(id)];
  if (kind_ == PlacementKind::kBlock) {
    // Idle windows at the end are nobody's work: any group will do.
    const auto after = std::upper_bound(blocks_.begin(), blocks_.end() - 1, busy_before(id));
    return static_cast<int>(after - blocks_.begin()) - 1;
  }
  if (equal_speeds_) return busy_before(id) % static_cast<int>(speeds_.size());
  ensure(id >= first_, "window {} was forgotten", id);
  while (first_ + static_cast<int>(dealt_.size()) <= id) {
    // The group that would be the least ahead of its share with one window more.
    std::size_t best = 0;
    for (std::size_t g = 1; g < speeds_.size(); ++g) {
      const double load = static_cast<double>(counts_[g] + 1) / speeds_[g];
      if (load < static_cast<double>(counts_[best] + 1) / speeds_[best]) best = g;
    }
    if (!schedule_.idle(0, first_ + static_cast<int>(dealt_.size()))) ++counts_[best];
    dealt_.push_back(static_cast<int>(best));
  }
  return dealt_[static_cast<std::size_t>(id - first_)];
}

void Placement::forget_before(int id) {
  while (first_ < id && !dealt_.empty()) {
    dealt_.pop_front();
    ++first_;
  }
}

const std::vector<int>& Placement::listed(int step) {
  while (steps_.size() <= static_cast<std::size_t>(step)) {
    const int at = static_cast<int>(steps_.size());
    const int count = schedule_.window_count(at);
    std::vector<std::pair<int, int>> by_start;  // (first frame, id)
    for (int id = 0; id < count; ++id) {
      if (schedule_.idle(at, id)) continue;
      by_start.emplace_back(schedule_.window(at, id).frames.front(), id);
    }
    std::sort(by_start.begin(), by_start.end());
    const int busy = static_cast<int>(by_start.size());
    const auto blocks = weighted_blocks(busy, speeds_);
    std::vector<int> groups(static_cast<std::size_t>(count));
    for (int i = 0; i < busy; ++i) {
      const auto after = std::upper_bound(blocks.begin(), blocks.end(), i);
      groups[static_cast<std::size_t>(by_start[static_cast<std::size_t>(i)].second)] =
          static_cast<int>(after - blocks.begin()) - 1;
    }
    steps_.push_back(std::move(groups));
  }
  return steps_[static_cast<std::size_t>(step)];
}

}  // namespace seamwright::scheduling

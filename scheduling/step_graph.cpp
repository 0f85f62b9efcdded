#include "scheduling/step_graph.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

void sort_unique(std::vector<int>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

bool holds(const std::vector<int>& values, int value) {
  return std::binary_search(values.begin(), values.end(), value);
}

}  // namespace

StepGraph::StepGraph(const PlanRequest& request, const Layout& layout, const CostTable& costs,
                     const ResumeState& resume)
    : request_(request),
      layout_(layout),
      schedule_(request.windows),
      needs_(request, schedule_, resume),
      placement_(request, layout, costs),
      decoding_(
          request, layout, costs, resume.first_missing_frame / request.decode_frames,
          [this](int frame) {
            const int last = request_.steps - 1;
            return placement_.group(last, schedule_.covering(last, frame).front());
          },
          last_step_s(costs)),
      steps_differ_(!schedule_.is_static() || !resume.empty()) {}

// What each rank has to do in the last step, in seconds; empty where frames are final at many times
// (streaming order), or where decoding them takes no longer than moving them.
std::vector<double> StepGraph::last_step_s(const CostTable& costs) {
  const auto bytes = costs.sizes.state_frame_bytes();
  const double moving_s = std::max(costs.near.busy_s(bytes), costs.far.busy_s(bytes));
  if (request_.order == Order::kStreaming || costs.decode_frame_s <= moving_s) return {};
  const int last = request_.steps - 1;
  std::vector<double> seconds(static_cast<std::size_t>(layout_.ranks()), 0.0);
  for (int window = 0; window < schedule_.window_count(last); ++window) {
    if (!needs_.window(last, window)) continue;
    const int group = placement_.group(last, window);
    for (int visit = 0; visit < layout_.visits(); ++visit) {
      const int rank = layout_.rank_of(group, visit);
      seconds[static_cast<std::size_t>(rank)] +=
          request_.branches * costs.visit_s[static_cast<std::size_t>(visit)] / costs.speed(rank);
    }
  }
  return seconds;
}

std::vector<int> StepGraph::frames(int step, int window) const {
  auto frames = schedule_.window(step, window).frames;
  sort_unique(frames);
  return frames;
}

std::vector<int> StepGraph::reading_groups(int frame, int level) {
  std::vector<int> groups;
  for (const int window : schedule_.covering(level, frame)) {
    if (needs_.window(level, window)) groups.push_back(placement_.group(level, window));
  }
  sort_unique(groups);
  return groups;
}

std::vector<int> StepGraph::holders(int frame, int level) {
  if (level == request_.steps) return {decoding_.rank(decoding_.chunk_of(frame))};
  std::vector<int> ranks;
  for (const int group : reading_groups(frame, level)) ranks.push_back(layout_.home_rank(group));
  return ranks;
}

Segment StepGraph::advance_of(int frame, int step) {
  Segment segment;
  segment.first = frame;
  segment.count = 1;
  segment.windows = schedule_.covering(step, frame);
  std::vector<int> here;  // groups that have the frame and all its predictions' windows' neighbours
  for (const int window : segment.windows) here.push_back(placement_.group(step, window));
  sort_unique(here);
  const auto wanted = holders(frame, step + 1);
  for (const int rank : wanted) {
    const int group = layout_.group_of_rank(rank);
    if (holds(here, group)) segment.groups.push_back(group);
  }
  if (segment.groups.empty()) segment.groups.push_back(here.front());
  for (const int rank : wanted) {
    const int group = layout_.group_of_rank(rank);
    const bool made_there = holds(segment.groups, group) && layout_.home_rank(group) == rank;
    if (!made_there) segment.ranks.push_back(rank);
  }
  return segment;
}

const std::vector<Segment>& StepGraph::segments(int step, int window) {
  // In a static schedule only the last step differs: what follows it is decoding.
  const int key = steps_differ_ ? step : (step == request_.steps - 1 ? 1 : 0);
  auto [found, fresh] = cache_.try_emplace({window, key});
  if (!fresh) return found->second;
  auto& list = found->second;
  const bool last = step == request_.steps - 1;
  for (const int frame : frames(step, window)) {
    if (!needs_.advance(frame, step)) continue;
    Segment next = advance_of(frame, step);
    const bool extends =
        !list.empty() && list.back().first + list.back().count == frame &&
        list.back().windows == next.windows && list.back().groups == next.groups &&
        list.back().ranks == next.ranks &&
        (!last || decoding_.chunk_of(list.back().first) == decoding_.chunk_of(frame));
    if (extends) {
      ++list.back().count;
    } else {
      list.push_back(std::move(next));
    }
  }
  return list;
}

int StepGraph::reads(int frame, int level, int rank) {
  if (level == request_.steps) return decoding_.rank(decoding_.chunk_of(frame)) == rank ? 1 : 0;
  const int group = layout_.group_of_rank(rank);
  if (layout_.home_rank(group) != rank) return 0;
  int reads = 0;
  for (const int window : schedule_.covering(level, frame)) {
    if (needs_.window(level, window) && placement_.group(level, window) == group) {
      reads += request_.branches;
    }
  }
  if (needs_.advance(frame, level)) {
    const int window = schedule_.covering(level, frame).front();
    for (const auto& segment : segments(level, window)) {
      if (segment.contains(frame) && holds(segment.groups, group)) ++reads;
    }
  }
  return reads;
}

void StepGraph::forget_before(int window, int chunk) {
  if (!schedule_.is_static()) return;
  cache_.erase(cache_.begin(), cache_.lower_bound({window, 0}));
  placement_.forget_before(window);
  decoding_.forget_before(chunk);
}

}  // namespace seamwright::scheduling

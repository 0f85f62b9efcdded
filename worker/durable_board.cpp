#include "worker/durable_board.h"

#include <algorithm>

namespace seamwright::worker {

DurableBoard::DurableBoard(const scheduling::PlanRequest& request,
                           const scheduling::ResumeState& resume)
    : causal_(request.coherence == scheduling::Coherence::kCausal),
      steps_(request.steps),
      schedule_(request.windows) {
  std::vector<RecordKey> keys;
  for (const auto& [at, level] : resume.records) keys.push_back({at, level});
  add(keys, resume.first_missing_frame);
}

void DurableBoard::add(std::span<const RecordKey> durable, int first_missing_frame) {
  const std::lock_guard lock(mutex_);
  for (const auto& key : durable) {
    auto& level = newest_[key.at];
    level = std::max(level, key.level);
  }
  if (first_missing_frame <= first_missing_frame_) return;
  first_missing_frame_ = first_missing_frame;
  // Nothing before it is denoised again.
  auto end = newest_.lower_bound(first_missing_frame_);
  if (causal_) {
    end = newest_.begin();
    while (end != newest_.end() && end->first + 1 < schedule_.window_count(0) &&
           schedule_.static_start(end->first + 1) <= first_missing_frame_) {
      ++end;
    }
  }
  newest_.erase(newest_.begin(), end);
}

int DurableBoard::newest(int at) const {
  if (!causal_ && at < first_missing_frame_) return steps_;
  const auto found = newest_.find(at);
  return found == newest_.end() ? 0 : found->second;
}

bool DurableBoard::has(RecordKey key) const {
  const std::lock_guard lock(mutex_);
  const auto found = newest_.find(key.at);
  return found != newest_.end() && found->second >= key.level;
}

bool DurableBoard::allows(const scheduling::PlannedTask& planned) const {
  if (planned.durable_level <= 0) return true;
  const auto& task = planned.task;
  if (causal_) {
    const std::lock_guard lock(mutex_);
    return newest(task.window) >= planned.durable_level;
  }
  const auto window = schedule_.window(task.step, task.window);
  const std::lock_guard lock(mutex_);
  return std::all_of(window.frames.begin(), window.frames.end(), [&](int frame) {
    return schedule_.request().is_given(frame) || newest(frame) >= planned.durable_level;
  });
}

}  // namespace seamwright::worker

#include "scheduling/needs.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

void check(const PlanRequest& request, const ResumeState& resume) {
  require(resume.first_missing_frame % request.decode_frames == 0 ||
              resume.first_missing_frame >= request.windows.frames,
          "the first missing frame {} is not on the grid of {} frames per decode task",
          resume.first_missing_frame, request.decode_frames);
}

int last_recorded(const ResumeState& resume) {
  return resume.records.empty() ? -1 : resume.records.rbegin()->first;
}

}  // namespace

LocalNeeds::LocalNeeds(const PlanRequest& request, const WindowSchedule& schedule,
                       const ResumeState& resume)
    : request_(request), schedule_(schedule), resume_(resume) {
  check(request, resume);
  if (resume.empty()) return;
  const int length = request.windows.window;
  // The closure reaches back at most a window per level; windows that vary reach anywhere.
  const long reach = static_cast<long>(request.steps + 1) * length;
  if (schedule.is_static()) {
    known_begin_ = static_cast<int>(std::max(0L, resume.first_missing_frame - reach));
    known_end_ = std::min(request.windows.frames,
                          std::max(last_recorded(resume) + 1, resume.first_missing_frame));
  } else {
    known_end_ = request.windows.frames;
  }
  const auto count = static_cast<std::size_t>(std::max(0, known_end_ - known_begin_));
  state_.assign(static_cast<std::size_t>(request.steps) + 1, std::vector<char>(count, 0));
  windows_.resize(static_cast<std::size_t>(request.steps));
  for (int f = known_begin_; f < known_end_; ++f) {
    state_.back()[static_cast<std::size_t>(f - known_begin_)] = f >= resume.first_missing_frame;
  }
  for (int step = request.steps - 1; step >= 0; --step) close(step);

  first_window_ = kEndless;
  if (resume.first_missing_frame < request.windows.frames) {
    first_window_ = schedule.covering(0, resume.first_missing_frame).front();
  }
  for (const auto& ids : windows_) {
    if (!ids.empty()) first_window_ = std::min(first_window_, ids.front());
  }
}

void LocalNeeds::close(int step) {
  auto& needed = state_[static_cast<std::size_t>(step)];
  auto& ids = windows_[static_cast<std::size_t>(step)];
  const auto need_frames_of = [&](int id) {
    for (const int f : schedule_.window(step, id).frames) {
      if (f >= known_begin_ && known(f)) needed[static_cast<std::size_t>(f - known_begin_)] = 1;
    }
  };
  for (int f = known_begin_; f < known_end_; ++f) {
    if (!advance(f, step)) continue;
    for (const int id : schedule_.covering(step, f)) ids.push_back(id);
  }
  if (known_end_ < request_.windows.frames) {
    // Windows that reach into the unknown are needed, and read their known frames.
    for (const int id : schedule_.covering(step, known_end_)) {
      const auto frames = schedule_.window(step, id).frames;
      const bool computed = std::any_of(frames.begin(), frames.end(), [this](int f) {
        return !known(f) && !request_.windows.is_given(f);
      });
      if (computed) ids.push_back(id);
    }
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const int id : ids) need_frames_of(id);
}

bool LocalNeeds::window(int step, int id) const {
  if (resume_.empty()) return !schedule_.idle(step, id);
  const auto& ids = windows_[static_cast<std::size_t>(step)];
  if (std::binary_search(ids.begin(), ids.end(), id)) return true;
  return schedule_.is_static() && known_end_ < request_.windows.frames &&
         schedule_.static_start(id) >= known_end_ && !schedule_.idle(step, id);
}

bool LocalNeeds::advance(int frame, int step) const {
  if (request_.windows.is_given(frame)) return false;
  if (resume_.empty() || !known(frame)) return true;
  if (frame < known_begin_) return false;
  return state_[static_cast<std::size_t>(step) + 1]
               [static_cast<std::size_t>(frame - known_begin_)] != 0 &&
         !record(frame, step + 1);
}

bool LocalNeeds::source(int frame, int level) const {
  if (request_.windows.is_given(frame)) {
    if (level == request_.steps) return frame >= resume_.first_missing_frame;
    const auto readers = schedule_.covering(level, frame);
    return std::any_of(readers.begin(), readers.end(), [&](int id) { return window(level, id); });
  }
  if (resume_.empty() || !known(frame)) return level == 0;
  if (frame < known_begin_) return false;
  return state_[static_cast<std::size_t>(level)][static_cast<std::size_t>(frame - known_begin_)] !=
             0 &&
         (level == 0 || record(frame, level));
}

std::int64_t windows_to_denoise(const WindowSchedule& schedule, int steps) {
  const auto busy = [&](int step) {
    std::int64_t count = 0;
    for (int id = 0; id < schedule.window_count(step); ++id)
      count += schedule.idle(step, id) ? 0 : 1;
    return count;
  };
  if (schedule.is_static()) {
    return steps * (schedule.request().given.empty() ? schedule.window_count(0) : busy(0));
  }
  std::int64_t windows = 0;
  for (int step = 0; step < steps; ++step) windows += busy(step);
  return windows;
}

CausalNeeds::CausalNeeds(const PlanRequest& request, const WindowSchedule& schedule,
                         const ResumeState& resume)
    : request_(request), schedule_(schedule), resume_(resume), windows_(schedule.window_count(0)) {
  check(request, resume);
  if (resume.empty()) return;
  const int windows = windows_;
  const bool finished = resume.first_missing_frame >= request.windows.frames;
  // The window that makes a frame final is the last one to hold it.
  const int first_missing =
      finished ? windows : schedule.covering(0, resume.first_missing_frame).back();
  known_end_ = std::min(windows, std::max(last_recorded(resume) + 1, first_missing));
  known_begin_ = known_end_;
  const auto levels = static_cast<std::size_t>(request.steps) + 1;
  first_window_ = first_missing;
  for (int id = known_end_ - 1; id >= 0; --id) {
    known_begin_ = id;
    for (auto* flags : {&state_, &clean_, &step_}) flags->emplace_back(levels, 0);
    if (id >= first_missing) state_.back().back() = 1;
    close(id);
    const auto any = [](const std::vector<char>& flags) {
      return std::find(flags.begin(), flags.end(), 1) != flags.end();
    };
    const bool needed = any(step_.back()) || any(clean_.back()) || any(state_.back());
    if (needed) first_window_ = std::min(first_window_, id);
    if (!needed && id < first_missing) break;
  }
}

// What window `id` must compute, once its successor's needs are known.
void CausalNeeds::close(int id) {
  const auto at = static_cast<std::size_t>(known_end_ - 1 - id);
  const int steps = request_.steps;
  for (int step = 0; step < steps; ++step) {
    if (id + 1 < windows_ && follows(id + 1) && window(step, id + 1)) {
      clean_[at][static_cast<std::size_t>(followed_step(request_, step))] = 1;
    }
  }
  if (schedule_.idle(0, id)) return;
  for (int step = steps - 1; step >= 0; --step) {
    const auto s = static_cast<std::size_t>(step);
    const bool for_state = state_[at][s + 1] != 0 && !record(id, step + 1);
    const bool for_clean = clean_[at][s] != 0 && !record(id, step + 1);
    if (for_state || for_clean) {
      step_[at][s] = 1;
      state_[at][s] = 1;
    }
  }
}

bool CausalNeeds::flag(const std::vector<std::vector<char>>& flags, int id, int at) const {
  return id >= known_begin_ &&
         flags[static_cast<std::size_t>(known_end_ - 1 - id)][static_cast<std::size_t>(at)] != 0;
}

bool CausalNeeds::window(int step, int id) const {
  if (resume_.empty() || !known(id)) return !schedule_.idle(0, id);
  return flag(step_, id, step);
}

bool CausalNeeds::state(int id, int level) const {
  if (resume_.empty() || !known(id)) return level == request_.steps || !schedule_.idle(0, id);
  return flag(state_, id, level);
}

bool CausalNeeds::source_state(int id, int level) const {
  if (schedule_.idle(0, id)) return level == request_.steps && state(id, level);
  if (resume_.empty() || !known(id) || level == 0) return false;
  return flag(state_, id, level) && record(id, level);
}

bool CausalNeeds::source_clean(int id, int step) const {
  if (resume_.empty() || !known(id)) return false;
  return flag(clean_, id, step) && record(id, step + 1);
}

bool CausalNeeds::clean(int id, int step) const {
  if (id + 1 >= windows_ || !follows(id + 1)) return false;
  if (resume_.empty() || !known(id)) return step >= followed_step(request_, 0);
  return flag(clean_, id, step);
}

}  // namespace seamwright::scheduling

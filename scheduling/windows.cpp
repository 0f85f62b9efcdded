#include "scheduling/windows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"
#include "scheduling/hole_windows.h"

namespace seamwright::scheduling {
namespace {

// Schedules that change with the step are listed, step by step.
constexpr int kLongestListed = 1 << 18;

std::vector<int> run_of_frames(int start, int length) {
  std::vector<int> frames(static_cast<std::size_t>(length));
  std::iota(frames.begin(), frames.end(), start);
  return frames;
}

bool lies_around_holes(const WindowRequest& r) {
  return r.around_holes && r.schedule == ScheduleKind::kStatic && !r.given.empty() &&
         r.frames > r.window;
}

int static_count(const WindowRequest& r) {
  if (r.frames == kEndless) return kEndless;
  if (r.frames <= r.window) return 1;
  const int advance = r.window - r.overlap;
  return 1 + (r.frames - r.window + advance - 1) / advance;
}

// Python's round(): halves go to the even neighbour.
int round_half_even(double value) {
  const double below = std::floor(value);
  const double rest = value - below;
  const auto whole = static_cast<int>(below);
  if (rest > 0.5 || (rest == 0.5 && whole % 2 != 0)) return whole + 1;
  return whole;
}

// Dilations 1, 2, 4 ... of one request: min(stride, ceil(log2(F / L)) + 1) of them, but none whose
// windows are longer than the video: they would hold frames twice.
std::vector<int> dilations(const WindowRequest& r) {
  int levels = 1;
  for (long span = r.window; span < r.frames; span *= 2) ++levels;
  std::vector<int> result;
  for (int i = 0; i < std::min(r.stride, levels); ++i) {
    if ((r.window - 1L) * (1L << i) >= r.frames) break;
    result.push_back(1 << i);
  }
  return result;
}

// The windows of a uniform schedule before anything is done about those that run past the end:
// indices are taken modulo the number of frames.
std::vector<std::vector<int>> wrapped_windows(const WindowRequest& r, int step, bool closed) {
  std::vector<std::vector<int>> windows;
  const double shift = bit_reversed_fraction(static_cast<unsigned>(step));
  const int pad = round_half_even(r.frames * shift);
  for (const int dilation : dilations(r)) {
    const int first = static_cast<int>(shift * dilation) + pad;
    const int last = r.frames + pad - (closed ? 0 : r.overlap);
    for (int at = first; at < last; at += r.window * dilation - r.overlap) {
      std::vector<int> frames;
      for (int m = 0; m < r.window; ++m) frames.push_back((at + m * dilation) % r.frames);
      windows.push_back(std::move(frames));
    }
  }
  return windows;
}

// Position at which a window wraps to the beginning of the video, or -1.
int wrap_position(const std::vector<int>& frames) {
  for (std::size_t i = 1; i < frames.size(); ++i) {
    if (frames[i] < frames[i - 1]) return static_cast<int>(i);
  }
  return -1;
}

bool contains(const std::vector<int>& frames, int frame) {
  return std::find(frames.begin(), frames.end(), frame) != frames.end();
}

// Windows that wrap move to the end of the video; the beginning they leave behind gets a window of
// its own unless the next one starts there; later copies of a window go.
void unwrap(const WindowRequest& r, std::vector<std::vector<int>>& windows) {
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const int wrap = wrap_position(windows[i]);
    if (wrap < 0) continue;
    const int beginning = windows[i][static_cast<std::size_t>(wrap)];
    const int dilation = (windows[i][1] - windows[i][0] + r.frames) % r.frames;
    const int start = r.frames - 1 - (r.window - 1) * dilation;
    for (int m = 0; m < r.window; ++m) {
      windows[i][static_cast<std::size_t>(m)] = start + m * dilation;
    }
    if (!contains(windows[(i + 1) % windows.size()], beginning)) {
      const int at = std::min(beginning, r.frames - r.window);
      windows.insert(windows.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                     run_of_frames(at, r.window));
    }
  }
  std::set<std::vector<int>> seen;
  std::erase_if(windows, [&](const auto& window) { return !seen.insert(window).second; });
}

// A dilated window may be all that reaches the beginning and it skips frames: give those a window.
void cover_holes(const WindowRequest& r, std::vector<std::vector<int>>& windows) {
  std::vector<bool> covered(static_cast<std::size_t>(r.frames), false);
  const auto mark = [&](const std::vector<int>& window) {
    for (const int frame : window) covered[static_cast<std::size_t>(frame)] = true;
  };
  for (const auto& window : windows) mark(window);
  for (int frame = 0; frame < r.frames; ++frame) {
    if (covered[static_cast<std::size_t>(frame)]) continue;
    windows.push_back(run_of_frames(std::min(frame, r.frames - r.window), r.window));
    mark(windows.back());
  }
}

std::vector<std::vector<int>> uniform_windows(const WindowRequest& r, int step) {
  auto windows = wrapped_windows(r, step, false);
  unwrap(r, windows);
  cover_holes(r, windows);
  return windows;
}

}  // namespace

std::string_view to_string(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::kStatic:
      return "static";
    case ScheduleKind::kUniform:
      return "uniform";
    case ScheduleKind::kLooped:
      return "looped";
  }
  return "?";
}

ScheduleKind parse_schedule(std::string_view name) {
  for (const auto kind : {ScheduleKind::kStatic, ScheduleKind::kUniform, ScheduleKind::kLooped}) {
    if (name == to_string(kind)) return kind;
  }
  if (name == "standard_static") return ScheduleKind::kStatic;
  if (name == "standard_uniform") return ScheduleKind::kUniform;
  if (name == "looped_uniform") return ScheduleKind::kLooped;
  fail(ErrorCode::kInvalidArgument, "unknown window schedule '{}': use static, uniform or looped",
       name);
}

void validate(const WindowRequest& r) {
  require(r.frames >= 1, "frames is {}: a video has at least 1 frame", r.frames);
  require(r.frames <= kEndless, "frames is {}: at most {} are supported", r.frames, kEndless - 1);
  require(r.window >= 1, "window is {}: it holds at least 1 frame", r.window);
  require(r.window <= (1 << 16), "window is {}: at most {} frames are supported", r.window,
          1 << 16);
  require(r.window_limit <= 0 || r.window <= r.window_limit,
          "window is {} frames but this model's motion modules take at most {}: choose a window of "
          "{} or less",
          r.window, r.window_limit, r.window_limit);
  require(r.overlap >= 0 && r.overlap < r.window,
          "overlap is {}: it must be from 0 to {} for a window of {} frames", r.overlap,
          r.window - 1, r.window);
  require(r.given.empty() || static_cast<int>(r.given.size()) == r.frames,
          "given says of {} frames whether they are given, but the video has {}", r.given.size(),
          r.frames);
  require(r.stride >= 1, "context stride is {}: it must be at least 1", r.stride);
  require(r.schedule == ScheduleKind::kStatic || r.frames != kEndless,
          "an endless video needs the static window schedule, not '{}': its other windows depend "
          "on the length",
          to_string(r.schedule));
  require(
      r.schedule == ScheduleKind::kStatic || r.frames <= kLongestListed,
      "frames is {}: the '{}' window schedule is listed in full and takes at most {}; use static "
      "for longer videos",
      r.frames, to_string(r.schedule), kLongestListed);
}

double bit_reversed_fraction(unsigned value) {
  double fraction = 0.0;
  for (double weight = 0.5; value != 0; value >>= 1, weight *= 0.5) {
    if (value & 1U) fraction += weight;
  }
  return fraction;
}

std::vector<Window> windows_at_step(const WindowRequest& r, int step) {
  validate(r);
  require(r.frames != kEndless, "an endless video has no complete list of windows");
  std::vector<std::vector<int>> lists;
  if (r.frames <= r.window) {
    lists.push_back(run_of_frames(0, r.frames));
  } else if (r.schedule == ScheduleKind::kLooped) {
    lists = wrapped_windows(r, step, r.closed_loop);
  } else if (r.schedule == ScheduleKind::kUniform) {
    lists = uniform_windows(r, step);
  } else if (lies_around_holes(r)) {
    for (const auto& range : windows_around_holes(r)) {
      lists.push_back(run_of_frames(range.begin, range.count()));
    }
  } else {
    for (int w = 0; w < static_count(r); ++w) {
      const int start = std::min(w * (r.window - r.overlap), r.frames - r.window);
      lists.push_back(run_of_frames(start, r.window));
    }
  }
  std::vector<Window> windows;
  for (auto& frames : lists) {
    windows.push_back({static_cast<int>(windows.size()), std::move(frames)});
  }
  return windows;
}

WindowSchedule::WindowSchedule(const WindowRequest& request) : request_(request) {
  validate(request);
  single_ = request.frames <= request.window;
  if (!is_static()) return;
  count_ = static_count(request);
  if (!lies_around_holes(request)) return;
  laid_ = std::make_shared<std::vector<FrameRange>>(windows_around_holes(request));
  count_ = static_cast<int>(laid_->size());
}

int WindowSchedule::window_count(int step) const {
  return is_static() ? count_ : static_cast<int>(listed(step).windows.size());
}

int WindowSchedule::static_start(int id) const {
  ensure(is_static() && id >= 0 && id < count_, "window {} of {} static windows", id, count_);
  if (single_) return 0;
  if (laid_) return (*laid_)[static_cast<std::size_t>(id)].begin;
  const long start = static_cast<long>(id) * (request_.window - request_.overlap);
  if (is_endless()) return static_cast<int>(start);
  return static_cast<int>(std::min<long>(start, request_.frames - request_.window));
}

FrameRange WindowSchedule::static_range(int id) const {
  const int start = static_start(id);
  if (laid_) return (*laid_)[static_cast<std::size_t>(id)];
  return {start, start + std::min(request_.window, request_.frames)};
}

Window WindowSchedule::window(int step, int id) const {
  if (!is_static()) return listed(step).windows.at(static_cast<std::size_t>(id));
  const auto range = static_range(id);
  return {id, run_of_frames(range.begin, range.count())};
}

bool WindowSchedule::idle(int step, int id) const {
  if (request_.given.empty()) return false;
  if (!is_static()) {
    const auto& frames = listed(step).windows.at(static_cast<std::size_t>(id)).frames;
    return std::all_of(frames.begin(), frames.end(),
                       [this](int frame) { return request_.is_given(frame); });
  }
  return all_given(static_range(id));
}

FrameRange WindowSchedule::shared(int id) const {
  const int begin = static_start(id);
  return {begin, id == 0 ? begin : static_range(id - 1).end};
}

bool WindowSchedule::follows(int id) const {
  if (id == 0) return false;
  return request_.given.empty() || !all_given(shared(id));
}

bool WindowSchedule::all_given(FrameRange range) const {
  const auto first = request_.given.begin() + range.begin;
  return std::all_of(first, first + range.count(), [](bool is_given) { return is_given; });
}

std::vector<int> WindowSchedule::covering(int step, int frame) const {
  ensure(frame >= 0 && frame < request_.frames, "frame {} of {}", frame, request_.frames);
  std::vector<int> ids;
  if (!is_static()) {
    const auto& all = listed(step);
    const auto at = [&](int f) {
      return all.ids.begin() + all.begins[static_cast<std::size_t>(f)];
    };
    return {at(frame), at(frame + 1)};
  }
  if (laid_) {
    const auto is_over = [&](const FrameRange& range) { return range.end <= frame; };
    auto at = std::partition_point(laid_->begin(), laid_->end(), is_over);
    for (; at != laid_->end() && at->begin <= frame; ++at) {
      ids.push_back(static_cast<int>(at - laid_->begin()));
    }
    return ids;
  }
  const int advance = request_.window - request_.overlap;
  const int newest = std::min(count_ - 1, frame / advance);
  int oldest = std::max(0, (frame - request_.window + advance) / advance);
  if (frame < request_.window) oldest = 0;
  for (int id = std::min(oldest, newest); id < count_; ++id) {
    const int start = static_start(id);
    if (start > frame) break;
    if (frame < start + request_.window) ids.push_back(id);
  }
  return ids;
}

// Counted, then filled window by window: ids ascend for each frame.
WindowSchedule::Listed WindowSchedule::listing(std::vector<Window> windows, int frames) {
  Listed all;
  all.windows = std::move(windows);
  all.begins.assign(static_cast<std::size_t>(frames) + 1, 0);
  for (const auto& window : all.windows) {
    for (const int f : window.frames) ++all.begins[static_cast<std::size_t>(f) + 1];
  }
  std::partial_sum(all.begins.begin(), all.begins.end(), all.begins.begin());
  all.ids.resize(static_cast<std::size_t>(all.begins.back()));
  auto next = all.begins;
  for (const auto& window : all.windows) {
    for (const int f : window.frames) {
      all.ids[static_cast<std::size_t>(next[static_cast<std::size_t>(f)]++)] = window.id;
    }
  }
  return all;
}

const WindowSchedule::Listed& WindowSchedule::listed(int step) const {
  ensure(step >= 0, "step {}", step);
  while (steps_.size() <= static_cast<std::size_t>(step)) {
    const int next = static_cast<int>(steps_.size());
    steps_.push_back(listing(windows_at_step(request_, next), request_.frames));
  }
  return steps_[static_cast<std::size_t>(step)];
}

}  // namespace seamwright::scheduling

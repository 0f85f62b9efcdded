// Which frames are denoised together: the windows of a video, per denoising step, as pure
// arithmetic under the names ComfyUI-AnimateDiff-Evolved users know.
// Threads: values are safe anywhere; a WindowSchedule fills a cache, so one per thread.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

namespace seamwright::scheduling {

// A video without an end. Legal only with the static schedule (see WindowSchedule).
inline constexpr int kEndless = 1 << 30;

enum class ScheduleKind {
  kStatic,   // "static": the same windows at every step, the last shifted back
  kUniform,  // "uniform": shifted and strided per step; windows that would wrap move to the end
  kLooped,   // "looped": shifted and strided per step; windows wrap around the end
};

std::string_view to_string(ScheduleKind kind);
ScheduleKind parse_schedule(std::string_view name);  // static | uniform | looped

struct WindowRequest {
  int frames = 16;  // F >= 1, or kEndless
  int window = 16;  // L: frames in a window
  int overlap = 8;  // O: frames that consecutive windows share, 0 <= O < L
  ScheduleKind schedule = ScheduleKind::kStatic;
  int stride = 1;            // levels of dilation for uniform and looped: 1, 2, 4 ... frames apart
  bool closed_loop = false;  // looped only: the end of the video meets its beginning
  int window_limit = 0;      // the longest window the motion modules accept; 0 = no limit
  // By frame: its latents are given at every level, so that nothing has to be computed for its own
  // sake. Empty: none is.
  std::vector<bool> given{};
  // Local coherence: static windows lie around the frames that are not given (hole_windows.h).
  bool around_holes = false;

  bool is_given(int frame) const {
    return !given.empty() && given[static_cast<std::size_t>(frame)];
  }
};

// Throws kInvalidArgument that names the field, the value and what is allowed.
void validate(const WindowRequest& request);

struct FrameRange {
  int begin = 0, end = 0;  // the end is the first frame after it
  int count() const { return end - begin; }
  bool operator==(const FrameRange&) const = default;
};

// A window all of whose frames are given may hold fewer than the others.
struct Window {
  int id = 0;               // position in its step's list; the order of every sum over windows
  std::vector<int> frames;  // absolute frame indices in position order, each once

  bool operator==(const Window&) const = default;
};

// Fraction in [0, 1): the bits of `value` mirrored around the binary point ("ordered halving").
double bit_reversed_fraction(unsigned value);

// The windows of step `step`, every frame of the video in at least one of them. For an endless
// video use WindowSchedule instead.
std::vector<Window> windows_at_step(const WindowRequest& request, int step);

// The same windows by index, without materialising a long or endless list.
class WindowSchedule {
 public:
  explicit WindowSchedule(const WindowRequest& request);

  const WindowRequest& request() const { return request_; }
  // True when every step has the same windows.
  bool is_static() const { return request_.schedule == ScheduleKind::kStatic || single_; }
  bool is_endless() const { return request_.frames == kEndless; }
  // They lie around missing frames (hole_windows.h).
  bool around_holes() const { return laid_ != nullptr; }
  // Windows at one step; kEndless for an endless video.
  int window_count(int step) const;
  Window window(int step, int id) const;
  // Every frame of the window is given: it need not be denoised.
  bool idle(int step, int id) const;
  // Frames that a static window shares with its predecessor; empty for the first.
  FrameRange shared(int id) const;
  // Causal coherence: the window shares frames with its predecessor that are not given.
  bool follows(int id) const;
  // First frame of a static window.
  int static_start(int id) const;
  // Ids of the windows that hold a frame, ascending.
  std::vector<int> covering(int step, int frame) const;

 private:
  // All windows of a step, and by frame the ids of those that hold it.
  struct Listed {
    std::vector<Window> windows;
    std::vector<int> begins;  // of frame f in ids: [begins[f], begins[f + 1])
    std::vector<int> ids;
  };
  static Listed listing(std::vector<Window> windows, int frames);
  const Listed& listed(int step) const;
  bool all_given(FrameRange range) const;
  FrameRange static_range(int id) const;

  WindowRequest request_;
  bool single_ = false;  // the whole video fits one window
  int count_ = 0;        // windows of a static schedule
  // Of a static schedule around given frames; else null.
  std::shared_ptr<const std::vector<FrameRange>> laid_;
  mutable std::vector<Listed> steps_;  // filled on demand, never changed after
};

}  // namespace seamwright::scheduling

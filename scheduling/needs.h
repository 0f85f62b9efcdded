// What still has to be computed: the backward closure from the missing output through the durable
// records and the given frames. Without either, everything.
// Threads: const after construction; safe anywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduling/plan.h"
#include "scheduling/resume.h"
#include "scheduling/windows.h"

namespace seamwright::scheduling {

// Local coherence: by frame and level.
class LocalNeeds {
 public:
  LocalNeeds(const PlanRequest& request, const WindowSchedule& schedule, const ResumeState& resume);

  // The window must be denoised at this step.
  bool window(int step, int id) const;
  // The frame must be taken from level `step` to the next.
  bool advance(int frame, int step) const;
  // The frame's latent at this level is read by something, and comes from the noise (level 0), from
  // a record or, of a given frame, from its latent, rather than from a step.
  bool source(int frame, int level) const;

  // The first window that still has anything to do or to load.
  int first_window() const { return first_window_; }

 private:
  bool known(int frame) const { return frame < known_end_; }
  bool record(int frame, int level) const { return resume_.records.contains({frame, level}); }
  void close(int step);

  PlanRequest request_;
  const WindowSchedule& schedule_;
  ResumeState resume_;
  int known_begin_ = 0;                    // frames below are not needed at all
  int known_end_ = 0;                      // frames from here on are needed at every level
  std::vector<std::vector<char>> state_;   // [level][frame - known_begin_]
  std::vector<std::vector<int>> windows_;  // [step] -> needed ids that hold only known frames
  int first_window_ = 0;
};

// Windows that are not idle, over all steps of a video from the beginning.
std::int64_t windows_to_denoise(const WindowSchedule& schedule, int steps);

// Causal coherence: by window and level.
class CausalNeeds {
 public:
  CausalNeeds(const PlanRequest& request, const WindowSchedule& schedule,
              const ResumeState& resume);

  // The window must be denoised at this step (all rounds).
  bool window(int step, int id) const;
  // It follows its predecessor's clean estimates.
  bool follows(int id) const { return schedule_.follows(id); }
  // The window's state at the start of `level` is read; at level K, its final frames are.
  bool state(int id, int level) const;
  // It is, and it comes from a record or, of an idle window, from the given frames.
  bool source_state(int id, int level) const;
  // The window's clean estimate of `step` is read and comes from a record.
  bool source_clean(int id, int step) const;
  // The window's clean estimate of `step` is read by its successor.
  bool clean(int id, int step) const;

  int first_window() const { return first_window_; }
  // Windows from here on are needed at every step; once those before are finished, nothing of them
  // will be asked for again.
  int first_fresh_window() const { return known_end_; }

 private:
  bool known(int id) const { return id < known_end_; }
  bool record(int id, int level) const { return resume_.records.contains({id, level}); }
  bool flag(const std::vector<std::vector<char>>& flags, int id, int at) const;
  void close(int id);

  PlanRequest request_;
  const WindowSchedule& schedule_;
  ResumeState resume_;
  int windows_ = 0;
  int known_begin_ = 0;  // windows below are not needed at all
  int known_end_ = 0;    // windows from here on are needed at every step
  // Counted back from the last known window: [known_end_ - 1 - window][level or step].
  std::vector<std::vector<char>> state_;
  std::vector<std::vector<char>> clean_;
  std::vector<std::vector<char>> step_;
  int first_window_ = 0;
};

// The predecessor's step whose clean estimate a window at `step` follows.
inline int followed_step(const PlanRequest& request, int step) {
  return step + request.lag < request.steps - 1 ? step + request.lag : request.steps - 1;
}

}  // namespace seamwright::scheduling

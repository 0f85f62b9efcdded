// Which durable records may go, and which must be there before a window goes on: the rules that
// make a crash cost at most one checkpoint interval.
// Threads: pure functions; safe anywhere.
#pragma once

#include <functional>

#include "scheduling/plan.h"

namespace seamwright::scheduling {

// The level recorded after `level`: the next multiple of the interval, or K.
int next_recorded_level(const PlanRequest& request, int level);

// The level whose records a window's frames (causal: the window) must have, or newer ones, before
// the first evaluation of `step` may count as done; 0 when nothing is required. Whatever a window
// has done is then at most one interval beyond records from which it can go on.
int required_durable_level(const PlanRequest& request, int step);

// What is durable. Records of one frame (causal: of one window) must become durable in ascending
// levels.
struct DurableView {
  std::function<int(int)> newest;  // level of the newest record of a frame (window), 0 without
  std::function<int(int)> oldest;  // of the oldest that was not deleted, 0 without
  int first_missing_frame = 0;     // frames below are published
};

// Whether the record (at, level) can be deleted without making any resume redo more: no frame or
// window that could still need it, directly or by way of its neighbours, is at `level`.
bool record_deletable(const PlanRequest& request, const WindowSchedule& schedule, int at, int level,
                      const DurableView& durable);

}  // namespace seamwright::scheduling

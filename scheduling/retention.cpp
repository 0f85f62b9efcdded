#include "scheduling/retention.h"

#include <algorithm>

#include "scheduling/needs.h"

namespace seamwright::scheduling {
namespace {

// Frames that a frame at `level` depends on until the next recorded level: one reach of windows
// for each step in between.
bool neighbours_are_past(const PlanRequest& request, const WindowSchedule& schedule, int frame,
                         int level, const DurableView& durable) {
  const int next = next_recorded_level(request, level);
  int first = frame;
  int last = frame;
  if (schedule.is_static()) {
    for (int step = level; step < next; ++step) {
      first = schedule.static_start(schedule.covering(step, first).front());
      last = schedule.window(step, schedule.covering(step, last).back()).frames.back();
    }
  } else {
    first = 0;
    last = request.windows.frames - 1;
  }
  for (int other = first; other <= last; ++other) {
    if (request.windows.is_given(other)) continue;  // it needs no record
    if (other >= durable.first_missing_frame && durable.newest(other) < next) return false;
  }
  return true;
}

}  // namespace

int next_recorded_level(const PlanRequest& request, int level) {
  const int interval = std::max(1, request.checkpoint_interval);
  return std::min((level / interval + 1) * interval, request.steps);
}

int required_durable_level(const PlanRequest& request, int step) {
  if (request.checkpoint_interval <= 0 || step <= 0) return 0;
  return step / request.checkpoint_interval * request.checkpoint_interval;
}

bool record_deletable(const PlanRequest& request, const WindowSchedule& schedule, int at, int level,
                      const DurableView& durable) {
  if (request.coherence == Coherence::kLocal) {
    return neighbours_are_past(request, schedule, at, level, durable);
  }
  const int last = request.steps;
  const bool has_successor = at + 1 < schedule.window_count(0);
  const bool is_followed = has_successor && schedule.follows(at + 1);
  // The successor may have to start again from its oldest record, and then follows clean estimates
  // from that level's step on.
  const int successor = is_followed ? durable.oldest(at + 1) : last;
  if (level < last) {
    const int own = durable.newest(at);
    return own > level && (successor >= last || own - 1 <= followed_step(request, successor));
  }
  // The last record also holds the window's final frames. It stays while the predecessor has
  // records, which go by what this one says.
  const int end = has_successor ? schedule.static_start(at + 1) : request.windows.frames;
  const int predecessor = at == 0 ? 0 : durable.oldest(at - 1);
  return end <= durable.first_missing_frame && successor >= last &&
         (predecessor == 0 || predecessor >= last);
}

}  // namespace seamwright::scheduling

// The step graph of local coherence: which groups hold a frame's latent at a level, who advances it
// and where it must go. All of it arithmetic on windows and their placement.
// Threads: one object per thread (it caches).
#pragma once

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "scheduling/decode_spread.h"
#include "scheduling/needs.h"
#include "scheduling/placement.h"
#include "scheduling/plan.h"

namespace seamwright::scheduling {

// A run of frames that are advanced together at one step: the same windows cover them, the same
// groups advance them, the same ranks need the result.
struct Segment {
  int first = 0;
  int count = 0;
  std::vector<int> windows;  // that cover it, ascending: the order of the sum
  std::vector<int> groups;   // that advance it, each for itself; the first also sends and records
  std::vector<int> ranks;    // that need the result and do not make it

  bool contains(int frame) const { return frame >= first && frame < first + count; }
};

class StepGraph {
 public:
  StepGraph(const PlanRequest& request, const Layout& layout, const CostTable& costs,
            const ResumeState& resume);

  const WindowSchedule& schedule() const { return schedule_; }
  const LocalNeeds& needs() const { return needs_; }
  DecodeSpread& decoding() { return decoding_; }
  int group(int step, int window) { return placement_.group(step, window); }

  // The frames of a window, each once, ascending.
  std::vector<int> frames(int step, int window) const;
  // The segments of one window, ascending. They lie wholly inside the window.
  const std::vector<Segment>& segments(int step, int window);
  // Ranks at which a frame's latent at a level is read, ascending.
  std::vector<int> holders(int frame, int level);
  // How many tasks of a rank read it there.
  int reads(int frame, int level, int rank);

  // Nothing of earlier windows and frames will be asked for again (static schedules).
  void forget_before(int window, int chunk);

 private:
  Segment advance_of(int frame, int step);
  std::vector<double> last_step_s(const CostTable& costs);
  std::vector<int> reading_groups(int frame, int level);

  PlanRequest request_;
  Layout layout_;
  WindowSchedule schedule_;
  LocalNeeds needs_;
  Placement placement_;
  DecodeSpread decoding_;
  bool steps_differ_;
  std::map<std::pair<int, int>, std::vector<Segment>> cache_;  // (window, step)
};

}  // namespace seamwright::scheduling

// Plans causal coherence: window after window, each following its predecessor's clean estimates a
// fixed number of levels behind.
// Threads: one object per thread.
#pragma once

#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduling/chains.h"
#include "scheduling/decode_spread.h"
#include "scheduling/list_scheduler.h"
#include "scheduling/needs.h"
#include "scheduling/placement.h"

namespace seamwright::scheduling {

class CausalDriver : public Driver {
 public:
  CausalDriver(ListScheduler& scheduler, const PlanRequest& request, const Layout& layout,
               const CostTable& costs, const ResumeState& resume);

  void start() override;
  bool complete() const override { return output_.next_chunk() >= chunks_; }
  void on_done(const PlannedTask& task) override;
  void on_arrival(const Message& message) override;

 private:
  ForwardChain::Hooks hooks();
  void admit();
  void source(int window, int level);
  // Enters if both the window's own state (or its noise) and the predecessor's estimate, where it
  // follows one, are there.
  void try_enter(int window, int step, int round);
  void on_clean(int window, int step);
  void mix(int step, int window, int round);
  void on_mixed(const PlannedTask& task);
  // Sends final frames to where they are decoded, a message per run of one chunk.
  void pass_final_frames(const PlannedTask& task);

  int home(int window) { return layout_.home_rank(placement_.group(0, window)); }
  // Frames that become final with a window: those its successor does not hold.
  std::pair<int, int> final_frames(int window) const;
  // Positions of a window that its successor shares.
  std::vector<int> shared_positions(int window) const;
  // How often the home of `window` reads its predecessor's clean estimate of `step`.
  int clean_reads(int window, int step) const;
  std::vector<Output> final_outputs(int window, int rank, int& first, int& count);
  Output clean_output(int window, int step, int rank);

  ListScheduler& scheduler_;
  PlanRequest request_;
  Layout layout_;
  CostTable costs_;
  WindowSchedule schedule_;
  CausalNeeds needs_;
  Placement placement_;
  DecodeSpread spread_;
  ForwardChain forward_;
  OutputChain output_;
  int chunks_;
  int windows_;
  int window_frames_;
  int first_missing_frame_;
  int band_;
  int next_window_ = 0;
  std::set<std::tuple<int, int, int>> waiting_;  // (window, step, round) whose state is there
  std::set<std::pair<int, int>> clean_there_;    // (window, step) at the successor's home
};

}  // namespace seamwright::scheduling

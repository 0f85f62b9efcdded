// Plans local coherence (co-denoising): predictions of overlapping windows are fused per frame and
// each frame advances once.
// Threads: one object per thread.
#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "scheduling/chains.h"
#include "scheduling/list_scheduler.h"
#include "scheduling/step_graph.h"

namespace seamwright::scheduling {

class LocalDriver : public Driver {
 public:
  LocalDriver(ListScheduler& scheduler, const PlanRequest& request, const Layout& layout,
              const CostTable& costs, const ResumeState& resume);

  void start() override;
  bool complete() const override { return output_.next_chunk() >= chunks_; }
  void on_done(const PlannedTask& task) override;
  void on_arrival(const Message& message) override;

 private:
  ForwardChain::Hooks hooks();
  void admit();
  void source_window(int step, int window);
  void source_final_frames(int step, int window);
  void source(int level, int rank, int first, int count);
  void on_state(int frame, int level, int rank);
  void on_prediction(int step, int window, int rank);
  void on_combined(const PlannedTask& task);
  void on_advanced(const PlannedTask& task);
  void advance(const Segment& segment, int step, int group);
  // Positions of a window's prediction that a group reads.
  std::vector<int> positions_for(int step, int window, int group);
  int prediction_reads(int step, int window, int group);
  std::vector<int> reading_groups(int step, int window);
  DataRef state_ref(int frame, int level, int rank);

  ListScheduler& scheduler_;
  PlanRequest request_;
  Layout layout_;
  CostTable costs_;
  StepGraph graph_;
  ForwardChain forward_;
  OutputChain output_;
  int chunks_;
  int band_;
  int next_window_ = 0;                                   // static: the first that is not admitted
  std::map<std::pair<int, int>, int> frames_there_;       // (window, step) -> frames at its home
  std::map<std::tuple<int, int, int>, int> predictions_;  // (first frame, step, group) -> there
};

// Chunks of the decode grid, kEndless for an endless video.
int chunk_count(const PlanRequest& request);

// The first chunk that is not wholly published; the number of chunks when everything is.
int first_missing_chunk(const PlanRequest& request, const ResumeState& resume);

// Windows that may be under way at a time in streaming order: enough for every group to have work
// while the first frames finish.
int streaming_band(const PlanRequest& request, const Layout& layout);

}  // namespace seamwright::scheduling

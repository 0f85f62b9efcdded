// The parts of a plan that both coherence modes share: a micro-batch's way through the stages, and
// the way of final frames through decoding to the encoder.
// Threads: one object per thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduling/decode_spread.h"
#include "scheduling/list_scheduler.h"
#include "scheduling/plan.h"

namespace seamwright::scheduling {

// Forward visits of all branches, then guidance.
class ForwardChain {
 public:
  // What a window at a step and round needs from its driver.
  struct Hooks {
    std::function<int(int step, int window)> group;
    std::function<std::vector<DataId>(int step, int window, int round)> inputs;
    std::function<Output(int step, int window, int round)> prediction;
  };
  ForwardChain(ListScheduler& scheduler, const PlanRequest& request, const Layout& layout,
               const CostTable& costs, Hooks hooks);

  void start(int step, int window, int round);
  // Of a forward task: passes the activation on, or joins the branches.
  void on_done(const PlannedTask& task);
  void on_activation(const Message& message);

 private:
  void visit(const Task& task);
  Priority priority(const Task& task) const;

  ListScheduler& scheduler_;
  PlanRequest request_;
  Layout layout_;
  CostTable costs_;
  Hooks hooks_;
  std::map<std::tuple<int, int, int>, int> joined_;  // (step, window, round) -> branches done
};

// Decode, pixels to rank 0, emit; in order, with credit in both places.
class OutputChain {
 public:
  OutputChain(ListScheduler& scheduler, const PlanRequest& request, const Layout& layout,
              const CostTable& costs, DecodeSpread& spread, int first_chunk);

  // A final frame lies at its decoding rank.
  void on_final_frame(int frame);
  void on_decoded(const PlannedTask& task);
  void on_pixels(int chunk);
  void on_emitted(const PlannedTask& task);

  int next_chunk() const { return next_chunk_; }

 private:
  void decode(int chunk);
  void send_pixels(int chunk);
  void emit(int chunk);
  std::int64_t pixel_bytes(int chunk) const;

  ListScheduler& scheduler_;
  PlanRequest request_;
  CostTable costs_;
  DecodeSpread& spread_;
  int decode_credit_;
  int emit_credit_;
  int first_chunk_;
  int next_chunk_;                          // the first that is not emitted
  std::map<int, int> frames_;               // chunk -> final frames there
  std::set<int> complete_;                  // chunks that wait for credit to decode
  std::set<int> decoded_;                   // chunks that wait for credit at rank 0
  std::set<int> arrived_;                   // chunks at rank 0
  std::deque<std::int64_t> emit_position_;  // of the last emitted chunks, as many as the credit
};

}  // namespace seamwright::scheduling

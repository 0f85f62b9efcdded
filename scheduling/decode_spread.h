// Which rank decodes which chunk of frames: the least loaded in turn. While denoising goes on, one
// of the group that makes the frames final, counting its share of denoising as load. Where all are
// final at the end, one of all ranks (docs/adr/0019): frames leave in order, so a group that
// decoded a run of its own would hold it until all groups before it are done.
// Threads: one object per thread (it extends a list on demand).
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "scheduling/plan.h"

namespace seamwright::scheduling {

class DecodeSpread {
 public:
  // `group_of_frame` names the group that makes a frame final. With `last_step_s`, what each rank
  // has to do in the last step, any rank may decode anything.
  DecodeSpread(const PlanRequest& request, const Layout& layout, const CostTable& costs,
               int first_chunk, std::function<int(int)> group_of_frame,
               const std::vector<double>& last_step_s = {});

  int chunk_of(int frame) const { return frame / request_.decode_frames; }
  int first_frame(int chunk) const { return chunk * request_.decode_frames; }
  int frame_count(int chunk) const;
  int rank(int chunk);
  void forget_before(int chunk);

 private:
  PlanRequest request_;
  Layout layout_;
  std::function<int(int)> group_of_frame_;
  bool all_ranks_;
  std::vector<double> denoise_s_;  // per rank and chunk of its group
  std::vector<double> decode_s_;   // per rank
  std::vector<double> load_s_;     // per rank
  int first_ = 0;
  std::deque<int> ranks_;
};

}  // namespace seamwright::scheduling

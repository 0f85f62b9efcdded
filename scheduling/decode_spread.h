// Which rank decodes which chunk of frames: one of the group that makes the chunk's first frame
// final, the least loaded in turn, counting its share of denoising as load.
// Threads: one object per thread (it extends a list on demand).
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "scheduling/plan.h"

namespace seamwright::scheduling {

class DecodeSpread {
 public:
  // `group_of_frame` names the group that makes a frame final.
  DecodeSpread(const PlanRequest& request, const Layout& layout, const CostTable& costs,
               int first_chunk, std::function<int(int)> group_of_frame);

  int chunk_of(int frame) const { return frame / request_.decode_frames; }
  int first_frame(int chunk) const { return chunk * request_.decode_frames; }
  int frame_count(int chunk) const;
  int rank(int chunk);
  void forget_before(int chunk);

 private:
  PlanRequest request_;
  Layout layout_;
  std::function<int(int)> group_of_frame_;
  std::vector<double> denoise_s_;  // per rank and chunk of its group
  std::vector<double> decode_s_;   // per rank
  std::vector<double> load_s_;     // per rank
  int first_ = 0;
  std::deque<int> ranks_;
};

}  // namespace seamwright::scheduling

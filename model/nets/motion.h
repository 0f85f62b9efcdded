// AnimateDiff's motion module: attention over the frames of a window at every pixel.
// Threads: const after construction.
#pragma once

#include <vector>

#include "model/layers.h"
#include "model/nets/transformer.h"

namespace seamwright::model {

struct MotionSpec {
  std::int64_t channels = 0;
  int groups = 32;
  int heads = 8;
  int layers = 1;
  std::int64_t max_frames = 32;  // where the checkpoint holds no position table of its own
  // diffusers normalises over all frames together, the original repository frame by frame.
  NormExtent norm = NormExtent::kAcrossFrames;
  ops::Result result = ops::Result::kNarrow;  // and of x
};

class MotionModule {
 public:
  MotionModule(const Scope& scope, const MotionSpec& spec);
  Tensor operator()(Exec& exec, ConstView x) const;  // [F, H, W, C], all frames of one window
  std::int64_t max_frames() const { return max_frames_; }

 private:
  // Two self-attentions over frames and a feed-forward, each added to its input.
  class Block {
   public:
    Block(const Scope& scope, const MotionSpec& spec);
    Tensor operator()(Exec& exec, Tensor x) const;  // [F, H*W, C]
    std::int64_t max_frames() const { return position_.shape()[0]; }

   private:
    Tensor attend(Exec& exec, const LayerNorm& norm, const SelfAttention& attention,
                  ConstView x) const;
    Tensor position_;  // [max frames, C]
    LayerNorm norm1_;
    SelfAttention attn1_;
    LayerNorm norm2_;
    SelfAttention attn2_;
    FeedForward ff_;
  };

  GroupNorm norm_;
  Linear proj_in_;
  std::vector<Block> blocks_;
  Linear proj_out_;
  ops::Result result_;
  std::int64_t max_frames_;
};

}  // namespace seamwright::model

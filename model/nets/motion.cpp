#include "model/nets/motion.h"

#include <algorithm>

#include "model/nets/sinusoid.h"

namespace seamwright::model {
namespace {

// The checkpoint's own table where it has one: its length is the module's real limit.
Tensor load_position(const Scope& scope, const MotionSpec& spec) {
  const std::string name = (scope / "pe").name;
  const auto stored = scope.load.ledger.source().find(name);
  if (!stored)
    return resident_copy(scope.load, motion_position_table(spec.max_frames, spec.channels));
  require(stored->shape.rank() == 3 && stored->shape[1] > 0,
          "{}: tensor '{}' has shape {}, but must be [1, frames, {}]",
          scope.load.ledger.source().description(), name, stored->shape.to_string(), spec.channels);
  const std::int64_t parameters = scope.load.parameters;
  Tensor table = load_table(scope, "pe", {1, stored->shape[1], spec.channels});
  scope.load.parameters = parameters;  // a buffer, not a parameter
  table.reshape({stored->shape[1], spec.channels});
  return table;
}

}  // namespace

MotionModule::Block::Block(const Scope& scope, const MotionSpec& spec)
    : position_(load_position(scope / "pos_embed", spec)),
      norm1_(scope / "norm1", spec.channels),
      attn1_(scope / "attn1", spec.channels, spec.heads, Over::kFrames),
      norm2_(scope / "norm2", spec.channels),
      attn2_(scope / "attn2", spec.channels, spec.heads, Over::kFrames),
      ff_(scope / "norm3", scope / "ff", spec.channels) {}

Tensor MotionModule::Block::attend(Exec& exec, const LayerNorm& norm,
                                   const SelfAttention& attention, ConstView x) const {
  // Positions join the normalised input of both attentions, never the residual stream.
  const Tensor h = norm(exec, x, position_.view().slice(0, x.shape[0]));  // [F, S, C]
  return attention(exec, h, x);
}

Tensor MotionModule::Block::operator()(Exec& exec, Tensor x) const {
  x = attend(exec, norm1_, attn1_, x);
  x = attend(exec, norm2_, attn2_, x);
  return ff_(exec, x);
}

MotionModule::MotionModule(const Scope& scope, const MotionSpec& spec)
    : norm_(scope / "norm", spec.channels, spec.groups, 1e-6, spec.norm),
      proj_in_(scope / "proj_in", spec.channels, spec.channels),
      proj_out_(scope / "proj_out", spec.channels, spec.channels),
      result_(spec.result),
      max_frames_(spec.max_frames) {
  require(spec.heads > 0 && spec.channels % spec.heads == 0,
          "{}: {} channels do not divide into {} motion heads (config.json)", scope.name,
          spec.channels, spec.heads);
  for (int i = 0; i < spec.layers; ++i) {
    blocks_.emplace_back(scope / "transformer_blocks" / static_cast<std::size_t>(i), spec);
  }
  if (!blocks_.empty()) max_frames_ = blocks_.front().max_frames();
  for (const auto& block : blocks_) max_frames_ = std::min(max_frames_, block.max_frames());
}

Tensor MotionModule::operator()(Exec& exec, ConstView x) const {
  const Shape image = x.shape;  // [F, H, W, C]
  require(image[0] <= max_frames_,
          "a window of {} frames is longer than this motion module's limit of {}: use a smaller "
          "--window",
          image[0], max_frames_);
  Tensor h = norm_(exec, x);                             // [F, H, W, C]
  h = proj_in_(exec, h);                                 // [F, H, W, C]
  h.reshape({image[0], image[1] * image[2], image[3]});  // [F, H*W, C]
  for (const auto& block : blocks_) h = block(exec, std::move(h));
  h.reshape(image);                                     // [F, H, W, C]
  return proj_out_(exec, h, {.residual = x}, result_);  // [F, H, W, C]
}

}  // namespace seamwright::model

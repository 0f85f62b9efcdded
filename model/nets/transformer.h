// Spatial attention with text: Transformer2D, its blocks, and attention and feed-forward layers
// that the motion module shares.
// Threads: const after construction; a PromptContext belongs to one thread at a time.
#pragma once

#include <optional>
#include <vector>

#include "model/denoiser.h"
#include "model/layers.h"

namespace seamwright::model {

// Among what an attention looks: the rows of one frame, or the frames of one row.
enum class Over : std::uint8_t { kRows, kFrames };

// Attention within x, with its projections.
class SelfAttention {
 public:
  SelfAttention(const Scope& scope, std::int64_t channels, int heads, Over over);
  // to_out(attention(x)) + residual; both [F, S, C]
  Tensor operator()(Exec& exec, ConstView x, ConstView residual) const;

 private:
  struct Separate {
    Linear q, k, v;
  };
  Tensor attend(Exec& exec, ConstView x) const;

  std::optional<JoinedProjections> joined_;  // these or
  std::optional<Separate> separate_;         // those
  Linear to_out_;
  int heads_;
  Over over_;
};

// Query, key and value projections and the output projection of an attention to the prompt.
class CrossAttentionWeights {
 public:
  CrossAttentionWeights(const Scope& scope, std::int64_t channels, std::int64_t context_channels);
  Tensor query(Exec& exec, ConstView x) const { return to_q_(exec, x); }
  Tensor key(Exec& exec, ConstView context) const { return to_k_(exec, context); }
  Tensor value(Exec& exec, ConstView context) const { return to_v_(exec, context); }
  // to_out(x) + residual
  Tensor output(Exec& exec, ConstView x, ConstView residual) const {
    return to_out_(exec, x, {.residual = residual});
  }

 private:
  Linear to_q_, to_k_, to_v_, to_out_;
};

// x + W2 geglu(W1 norm(x))
class FeedForward {
 public:
  FeedForward(const Scope& norm, const Scope& scope, std::int64_t channels);
  Tensor operator()(Exec& exec, ConstView x) const;

 private:
  LayerNorm norm_;
  Geglu proj_;
  Linear out_;
};

// Self-attention, cross-attention to the prompt, feed-forward, each added to its input.
class BasicTransformerBlock {
 public:
  // `layer` numbers the cross-attention among all of its network's: the key of the prompt's cache.
  BasicTransformerBlock(const Scope& scope, std::int64_t channels, int heads,
                        std::int64_t context_channels, int layer);
  Tensor operator()(Exec& exec, Tensor x, PromptContext& context) const;  // [F, H*W, C]

 private:
  const PromptContext::KeyValue& prompt_key_value(Exec& exec, PromptContext& context) const;

  LayerNorm norm1_;
  SelfAttention attn1_;
  LayerNorm norm2_;
  CrossAttentionWeights attn2_;
  FeedForward ff_;
  int heads_;
  int layer_;
};

struct TransformerSpec {
  std::int64_t channels = 0;
  int groups = 32;
  int heads = 8;
  int layers = 1;
  std::int64_t context_channels = 768;
  int first_layer = 0;  // of the cross-attentions, counted through the network
  ops::Result result = ops::Result::kNarrow;  // and of x
};

class Transformer2D {
 public:
  Transformer2D(const Scope& scope, const TransformerSpec& spec);
  Tensor operator()(Exec& exec, ConstView x, PromptContext& context) const;  // [F, H, W, C]

 private:
  GroupNorm norm_;
  Linear proj_in_;
  std::vector<BasicTransformerBlock> blocks_;
  Linear proj_out_;
  ops::Result result_;
};

}  // namespace seamwright::model

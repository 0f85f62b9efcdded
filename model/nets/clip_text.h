// CLIPTextModel: token ids to the sequence of hidden states a U-Net's cross-attention reads.
// Threads: const after construction.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/configs.h"
#include "model/layers.h"

namespace seamwright::model {

class ClipText {
 public:
  ClipText(LoadContext& load, const ClipTextConfig& config);

  std::int64_t max_tokens() const { return config_.max_position_embeddings; }
  std::int64_t width() const { return config_.hidden_size; }
  // Ids (at most max_tokens) -> [1, ids, hidden], after the final norm. Padding is attended to like
  // any other token; only the future is masked.
  Tensor operator()(Exec& exec, std::span<const std::int32_t> ids) const;

 private:
  class Layer {
   public:
    Layer(const Scope& scope, const ClipTextConfig& config);
    Tensor operator()(Exec& exec, Tensor x) const;  // [1, T, C]

   private:
    LayerNorm norm1_;
    Linear q_proj_, k_proj_, v_proj_, out_proj_;
    LayerNorm norm2_;
    Linear fc1_, fc2_;
    int heads_;
    Activation activation_;
  };

  ClipTextConfig config_;
  Tensor tokens_;     // [vocab, C]
  Tensor positions_;  // [max tokens, C]
  std::vector<Layer> layers_;
  std::vector<LayerNorm> final_norm_;  // exactly one
};

}  // namespace seamwright::model

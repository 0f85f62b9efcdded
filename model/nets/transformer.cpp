#include "model/nets/transformer.h"

namespace seamwright::model {

SelfAttention::SelfAttention(const Scope& scope, std::int64_t channels, int heads, Over over)
    : to_out_(scope / "to_out.0", channels, channels), heads_(heads), over_(over) {
  if (scope.load.backend.joined_projections()) {
    joined_.emplace(scope, channels);
    return;
  }
  const auto projection = [&](const char* name) {
    return Linear(scope / name, channels, channels, Bias::kNo);
  };
  separate_.emplace(Separate{projection("to_q"), projection("to_k"), projection("to_v")});
}

Tensor SelfAttention::attend(Exec& exec, ConstView x) const {
  if (joined_) {
    const Tensor qkv = (*joined_)(exec, x);  // [F, S, 3C]
    return over_ == Over::kRows ? ops::self_attention(exec, heads_, qkv)
                                : ops::temporal_self_attention(exec, heads_, qkv);
  }
  const Tensor q = separate_->q(exec, x), k = separate_->k(exec, x), v = separate_->v(exec, x);
  return over_ == Over::kRows ? ops::attention(exec, heads_, false, q, k, v)
                              : ops::temporal_attention(exec, heads_, q, k, v);
}

Tensor SelfAttention::operator()(Exec& exec, ConstView x, ConstView residual) const {
  const Tensor h = attend(exec, x);  // [F, S, C]
  return to_out_(exec, h, {.residual = residual});
}

CrossAttentionWeights::CrossAttentionWeights(const Scope& scope, std::int64_t channels,
                                             std::int64_t context_channels)
    : to_q_(scope / "to_q", channels, channels, Bias::kNo),
      to_k_(scope / "to_k", context_channels, channels, Bias::kNo),
      to_v_(scope / "to_v", context_channels, channels, Bias::kNo),
      to_out_(scope / "to_out.0", channels, channels) {}

FeedForward::FeedForward(const Scope& norm, const Scope& scope, std::int64_t channels)
    : norm_(norm, channels),
      proj_(scope / "net.0.proj", channels, 4 * channels),
      out_(scope / "net.2", 4 * channels, channels) {}

Tensor FeedForward::operator()(Exec& exec, ConstView x) const {
  Tensor h = norm_(exec, x);              // [..., C]
  h = proj_(exec, h);                     // [..., 4C]
  return out_(exec, h, {.residual = x});  // [..., C]
}

BasicTransformerBlock::BasicTransformerBlock(const Scope& scope, std::int64_t channels, int heads,
                                             std::int64_t context_channels, int layer)
    : norm1_(scope / "norm1", channels),
      attn1_(scope / "attn1", channels, heads, Over::kRows),
      norm2_(scope / "norm2", channels),
      attn2_(scope / "attn2", channels, context_channels),
      ff_(scope / "norm3", scope / "ff", channels),
      heads_(heads),
      layer_(layer) {}

const PromptContext::KeyValue& BasicTransformerBlock::prompt_key_value(
    Exec& exec, PromptContext& context) const {
  const auto found = context.cache().find(layer_);
  if (found != context.cache().end()) return found->second;
  // They outlive this evaluation, so they must not come from its arena.
  Exec resident{exec.backend, exec.backend.memory()};
  const Tensor embeddings = ops::upload(resident, context.embeddings());  // [P, T, context]
  PromptContext::KeyValue kv;
  kv.key = attn2_.key(resident, embeddings);      // [P, T, C]
  kv.value = attn2_.value(resident, embeddings);  // [P, T, C]
  return context.cache().emplace(layer_, std::move(kv)).first->second;
}

Tensor BasicTransformerBlock::operator()(Exec& exec, Tensor x, PromptContext& context) const {
  {
    const Tensor h = norm1_(exec, x);  // [F, S, C]
    x = attn1_(exec, h, x);
  }
  {
    const auto& kv = prompt_key_value(exec, context);
    Tensor h = norm2_(exec, x);  // [F, S, C]
    h = attn2_.query(exec, h);
    h = ops::attention(exec, heads_, false, h, kv.key, kv.value);
    x = attn2_.output(exec, h, x);
  }
  return ff_(exec, x);
}

Transformer2D::Transformer2D(const Scope& scope, const TransformerSpec& spec)
    : norm_(scope / "norm", spec.channels, spec.groups, 1e-6),
      proj_in_(scope / "proj_in", spec.channels, spec.channels),
      proj_out_(scope / "proj_out", spec.channels, spec.channels),
      result_(spec.result) {
  require(spec.heads > 0 && spec.channels % spec.heads == 0,
          "{}: {} channels do not divide into {} attention heads (config.json)", scope.name,
          spec.channels, spec.heads);
  for (int i = 0; i < spec.layers; ++i) {
    blocks_.emplace_back(scope / "transformer_blocks" / static_cast<std::size_t>(i), spec.channels,
                         spec.heads, spec.context_channels, spec.first_layer + i);
  }
}

Tensor Transformer2D::operator()(Exec& exec, ConstView x, PromptContext& context) const {
  const Shape image = x.shape;                           // [F, H, W, C]
  Tensor h = norm_(exec, x);                             // [F, H, W, C]
  h = proj_in_(exec, h);                                 // [F, H, W, C]
  h.reshape({image[0], image[1] * image[2], image[3]});  // [F, H*W, C]
  for (const auto& block : blocks_) h = block(exec, std::move(h), context);
  h.reshape(image);                                     // [F, H, W, C]
  return proj_out_(exec, h, {.residual = x}, result_);  // [F, H, W, C]
}

}  // namespace seamwright::model

#include "model/nets/clip_text.h"

namespace seamwright::model {

ClipText::Layer::Layer(const Scope& scope, const ClipTextConfig& config)
    : norm1_(scope / "layer_norm1", config.hidden_size, config.layer_norm_eps),
      q_proj_(scope / "self_attn.q_proj", config.hidden_size, config.hidden_size),
      k_proj_(scope / "self_attn.k_proj", config.hidden_size, config.hidden_size),
      v_proj_(scope / "self_attn.v_proj", config.hidden_size, config.hidden_size),
      out_proj_(scope / "self_attn.out_proj", config.hidden_size, config.hidden_size),
      norm2_(scope / "layer_norm2", config.hidden_size, config.layer_norm_eps),
      fc1_(scope / "mlp.fc1", config.hidden_size, config.intermediate_size),
      fc2_(scope / "mlp.fc2", config.intermediate_size, config.hidden_size),
      heads_(config.num_attention_heads),
      activation_(config.activation == TextActivation::kGelu ? Activation::kGelu
                                                             : Activation::kQuickGelu) {}

Tensor ClipText::Layer::operator()(Exec& exec, Tensor x) const {
  Tensor h = norm1_(exec, x);  // [1, T, C]
  const Tensor q = q_proj_(exec, h), k = k_proj_(exec, h), v = v_proj_(exec, h);
  h = ops::attention(exec, heads_, true, q, k, v);
  x = out_proj_(exec, h, {.residual = x});
  h = norm2_(exec, x);
  h = fc1_(exec, h, {.activation = activation_});  // [1, T, intermediate]
  return fc2_(exec, h, {.residual = x});           // [1, T, C]
}

ClipText::ClipText(LoadContext& load, const ClipTextConfig& config) : config_(config) {
  require(config.num_attention_heads > 0 && config.hidden_size % config.num_attention_heads == 0,
          "text encoder config: hidden_size {} does not divide into {} heads", config.hidden_size,
          config.num_attention_heads);
  // Newer files drop the prefix that all earlier ones have.
  const Scope old{load, "text_model"};
  const Scope model = old.has("final_layer_norm.weight") ? old : Scope{load, ""};
  tokens_ = load_table(model / "embeddings.token_embedding", "weight",
                       {config.vocab_size, config.hidden_size});
  positions_ = load_table(model / "embeddings.position_embedding", "weight",
                          {config.max_position_embeddings, config.hidden_size});
  load.ledger.ignore((model / "embeddings.position_ids").name);
  for (int i = 0; i < config.num_hidden_layers; ++i) {
    layers_.emplace_back(model / "encoder.layers" / static_cast<std::size_t>(i), config);
  }
  final_norm_.emplace_back(model / "final_layer_norm", config.hidden_size, config.layer_norm_eps);
}

Tensor ClipText::operator()(Exec& exec, std::span<const std::int32_t> ids) const {
  const auto count = static_cast<std::int64_t>(ids.size());
  ensure(count > 0 && count <= max_tokens(), "a prompt has 1 to {} tokens, not {}", max_tokens(),
         count);
  Tensor h = ops::gather_rows(exec, tokens_, ids);           // [T, C]
  h = ops::add(exec, h, positions_.view().slice(0, count));  // [T, C]
  h.reshape({1, count, config_.hidden_size});                // [1, T, C]
  for (const auto& layer : layers_) h = layer(exec, std::move(h));
  return final_norm_[0](exec, h);
}

}  // namespace seamwright::model

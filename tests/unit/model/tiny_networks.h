// The small networks behind the fixtures, as functions from a formula source to their output.
// Threads: one per test.
#pragma once

#include "model/nets/clip_text.h"
#include "model/nets/motion.h"
#include "model/nets/unet.h"
#include "model/nets/vae.h"
#include "model/nets/vae_tiny.h"
#include "tests/unit/model/backend_contract.h"
#include "tests/unit/model/formula_source.h"

namespace seamwright::model::testing_support {

inline UNetConfig tiny_unet2d() {
  UNetConfig c;
  c.block_out_channels = {16, 32};
  c.down_attention = {true, false};
  c.up_attention = {false, true};
  c.layers_per_block = {1, 1};
  c.transformer_layers = c.up_transformer_layers = {1, 1};
  c.cross_attention_dim = {16, 16};
  c.heads = {4, 4};
  c.norm_num_groups = 8;
  return c;
}

inline UNetConfig tiny_unet_motion(bool mid) {
  UNetConfig c = tiny_unet2d();
  c.heads = {2, 2};
  c.norm_num_groups = 16;
  c.motion.emplace();
  c.motion->transformer_layers = c.motion->up_transformer_layers = {1, 1};
  c.motion->heads = c.motion->up_heads = {8, 8};
  c.motion->use_mid_block = mid;
  return c;
}

inline VaeConfig tiny_vae() {
  VaeConfig c;
  c.block_out_channels = {8, 16};
  c.layers_per_block = 1;
  c.norm_num_groups = 4;
  c.scaling_factor = 1;  // the fixtures hold unscaled latents
  return c;
}

inline TinyVaeConfig tiny_taesd() {
  TinyVaeConfig c;
  c.encoder_block_out_channels = c.decoder_block_out_channels = {32, 32};
  c.num_encoder_blocks = c.num_decoder_blocks = {1, 1};
  return c;
}

inline ClipTextConfig tiny_clip(TextActivation activation) {
  ClipTextConfig c;
  c.vocab_size = 20;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.max_position_embeddings = 9;
  c.activation = activation;
  return c;
}

// One prompt row per frame (or one for all): sin(0.07 i + 0.1).
inline PromptContext fixture_context(std::int64_t rows) {
  Tensor host(heap(), DType::kF64, {rows, 4, 16});
  for (std::int64_t i = 0; i < host.shape().elements(); ++i) {
    host.view().as<double>()[i] = std::sin(0.07 * static_cast<double>(i) + 0.1);
  }
  return PromptContext(std::move(host));
}

// A result in the fixtures' order.
using TinyNetwork = std::function<std::vector<double>(FormulaLoad&)>;

inline std::vector<double> run_unet(FormulaLoad& load, const UNetConfig& config,
                                    std::int64_t frames) {
  const UNet unet(config, load.context, nullptr);
  Exec exec{load.context.backend, heap()};
  PromptContext context = fixture_context(frames);
  const Tensor sample = ops::upload(exec, fixture_input({4, frames, 16, 16}));
  const Tensor y = unet.predict(exec, sample, {.timestep = 10, .context = &context});
  return fixture_order(values_of(exec.backend, y), y.shape());
}

// Called with frames folded into the batch: here input and result are in [F, C, H, W] order.
inline std::vector<double> run_motion_module(FormulaLoad& load, NormExtent norm) {
  const MotionModule module(Scope{load.context, ""}, {8, 4, 2, 1, 32, norm});
  Exec exec{load.context.backend, heap()};
  Tensor host(heap(), DType::kF64, {5, 3, 2, 8});
  for (std::int64_t i = 0; i < 240; ++i) {
    const std::int64_t f = i / 48, c = i / 6 % 8, p = i % 6;
    host.view().as<double>()[(f * 6 + p) * 8 + c] = std::sin(0.05 * static_cast<double>(i) + 0.3);
  }
  const Tensor y = module(exec, ops::upload(exec, host));
  const auto values = values_of(exec.backend, y);
  std::vector<double> out(values.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = values[(i / 48 * 6 + i % 6) * 8 + i / 6 % 8];
  }
  return out;
}

}  // namespace seamwright::model::testing_support

#include "model/nets/vae_tiny.h"

#include <algorithm>

namespace seamwright::model {
namespace {

constexpr double kLatentMagnitude = 3;  // the decoder's clamp; fixed in the class

void check(const std::vector<std::int64_t>& widths, const std::vector<int>& blocks,
           const char* which) {
  require(!widths.empty() && widths.size() == blocks.size(),
          "vae config: {}_block_out_channels has {} entries and num_{}_blocks {}; both must have "
          "one per stage",
          which, widths.size(), which, blocks.size());
  // The class gives every convolution of a stage as many inputs as outputs.
  require(std::ranges::all_of(widths, [&](std::int64_t w) { return w == widths[0]; }),
          "vae config: {}_block_out_channels must all be equal in an AutoencoderTiny", which);
}

}  // namespace

TinyBlock::TinyBlock(const Scope& scope, std::int64_t channels)
    : conv0_(scope / "conv.0", ConvSpec::same(channels, channels, 3)),
      conv2_(scope / "conv.2", ConvSpec::same(channels, channels, 3)),
      conv4_(scope / "conv.4", ConvSpec::same(channels, channels, 3)) {}

Tensor TinyBlock::operator()(Exec& exec, ConstView x) const {
  Tensor h = conv0_(exec, x, {.activation = Activation::kRelu});
  h = conv2_(exec, h, {.activation = Activation::kRelu});
  return conv4_(exec, h, {.residual = x, .last = Activation::kRelu});
}

AutoencoderTiny::AutoencoderTiny(LoadContext& load, const TinyVaeConfig& config) : config_(config) {
  check(config.encoder_block_out_channels, config.num_encoder_blocks, "encoder");
  check(config.decoder_block_out_channels, config.num_decoder_blocks, "decoder");
  require(config.num_encoder_blocks.size() == config.num_decoder_blocks.size(),
          "vae config: the encoder has {} stages and the decoder {}",
          config.num_encoder_blocks.size(), config.num_decoder_blocks.size());
  require(config.scaling_factor != 0, "vae config: scaling_factor must not be 0");
  build_encoder(load);
  build_decoder(load);
}

// Layers are numbered as in one flat sequence, activations and upsamplings included.
void AutoencoderTiny::build_encoder(LoadContext& load) {
  const Scope layers{load, "encoder.layers"};
  const std::int64_t c = config_.encoder_block_out_channels[0];
  std::size_t layer = 0;
  for (std::size_t i = 0; i < config_.num_encoder_blocks.size(); ++i) {
    Stage stage;
    if (i == 0) {
      stage.conv.emplace_back(layers / layer++, ConvSpec::same(config_.in_channels, c, 3));
    } else {
      stage.conv.emplace_back(layers / layer++, ConvSpec{c, c, 3, 2, 1, 1, 1, 1}, Bias::kNo);
    }
    for (int j = 0; j < config_.num_encoder_blocks[i]; ++j) {
      stage.blocks.emplace_back(layers / layer++, c);
    }
    encoder_.push_back(std::move(stage));
  }
  encoder_out_.emplace_back(layers / layer, ConvSpec::same(c, config_.latent_channels, 3));
}

void AutoencoderTiny::build_decoder(LoadContext& load) {
  const Scope layers{load, "decoder.layers"};
  const std::int64_t c = config_.decoder_block_out_channels[0];
  std::size_t layer = 0;
  decoder_in_.emplace_back(layers / layer, ConvSpec::same(config_.latent_channels, c, 3));
  layer += 2;  // the convolution and its activation
  for (std::size_t i = 0; i < config_.num_decoder_blocks.size(); ++i) {
    const bool last = i + 1 == config_.num_decoder_blocks.size();
    Stage stage;
    for (int j = 0; j < config_.num_decoder_blocks[i]; ++j) {
      stage.blocks.emplace_back(layers / layer++, c);
    }
    if (!last) ++layer;  // the upsampling
    stage.conv.emplace_back(layers / layer++, ConvSpec::same(c, last ? config_.out_channels : c, 3),
                            last ? Bias::kYes : Bias::kNo);
    decoder_.push_back(std::move(stage));
  }
}

Tensor AutoencoderTiny::encode(Exec& exec, ConstView pixels) const {
  const AllocatorRun evaluation(exec.arena, run_key("tiny vae encode", {}, pixels.shape));
  ensure(pixels.shape.rank() == 4, "pixels must be [N, H, W, C], not {}", pixels.shape.to_string());
  require(pixels.shape[1] % scale() == 0 && pixels.shape[2] % scale() == 0,
          "a picture of {}x{} does not divide by {}: choose another size", pixels.shape[2],
          pixels.shape[1], scale());
  Tensor h = ops::affine(exec, 0.5, 0.5, pixels);  // [N, H, W, 3] in [0, 1]
  for (const auto& stage : encoder_) {
    h = stage.conv[0](exec, h);
    for (const auto& block : stage.blocks) h = block(exec, h);
  }
  h = encoder_out_[0](exec, h);  // [N, h, w, latent]
  if (config_.scaling_factor == 1 && config_.shift_factor == 0) return h;
  return ops::affine(exec, config_.scaling_factor, -config_.shift_factor * config_.scaling_factor,
                     h);
}

Tensor AutoencoderTiny::decode(Exec& exec, ConstView latents) const {
  const AllocatorRun evaluation(exec.arena, run_key("tiny vae decode", {}, latents.shape));
  Tensor h;
  if (config_.scaling_factor != 1 || config_.shift_factor != 0) {
    h = ops::affine(exec, 1 / config_.scaling_factor, config_.shift_factor, latents);
  }
  h = ops::soft_clamp(exec, kLatentMagnitude,
                      h ? static_cast<ConstView>(h) : latents);    // [N, h, w, latent]
  h = decoder_in_[0](exec, h, {.activation = Activation::kRelu});  // [N, h, w, C]
  for (std::size_t i = 0; i < decoder_.size(); ++i) {
    for (const auto& block : decoder_[i].blocks) h = block(exec, h);
    if (i + 1 < decoder_.size()) {
      h = ops::upsample_nearest(exec, h, 2 * h.shape()[1], 2 * h.shape()[2]);
    }
    h = decoder_[i].conv[0](exec, h);
  }
  return ops::affine(exec, 2, -1, h);  // [N, H, W, 3] in [-1, 1]
}

}  // namespace seamwright::model

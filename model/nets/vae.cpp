#include "model/nets/vae.h"

namespace seamwright::model {
namespace {

constexpr double kEps = 1e-6;  // everywhere in AutoencoderKL

std::int64_t outermost(const VaeConfig& config) {
  require(!config.block_out_channels.empty(), "vae config: block_out_channels is empty");
  return config.block_out_channels.front();
}

ResnetSpec resnet_spec(std::int64_t in, std::int64_t out, const VaeConfig& config) {
  return {in, out, config.norm_num_groups, kEps, 0};
}

Scope either(const Scope& scope, std::string_view now, std::string_view before) {
  return scope.has(fmt::format("{}.weight", before)) ? scope / before : scope / now;
}

}  // namespace

VaeAttention::VaeAttention(const Scope& scope, std::int64_t channels, int groups)
    : norm_(scope / "group_norm", channels, groups, kEps),
      to_q_(either(scope, "to_q", "query"), channels, channels),
      to_k_(either(scope, "to_k", "key"), channels, channels),
      to_v_(either(scope, "to_v", "value"), channels, channels),
      to_out_(either(scope, "to_out.0", "proj_attn"), channels, channels) {}

Tensor VaeAttention::operator()(Exec& exec, ConstView x) const {
  const Shape image = x.shape;  // [N, H, W, C]
  const Shape tokens{image[0], image[1] * image[2], image[3]};
  Tensor h = norm_(exec, x);  // [N, H, W, C]
  h.reshape(tokens);          // [N, H*W, C]
  const Tensor q = to_q_(exec, h), k = to_k_(exec, h), v = to_v_(exec, h);
  h = ops::attention(exec, 1, false, q, k, v);  // [N, H*W, C]
  h = to_out_(exec, h, {.residual = x.reshaped(tokens)});
  h.reshape(image);
  return h;
}

VaeMid::VaeMid(const Scope& scope, std::int64_t channels, const VaeConfig& config)
    : first_(scope / "resnets.0", resnet_spec(channels, channels, config)),
      second_(scope / "resnets.1", resnet_spec(channels, channels, config)) {
  if (config.mid_block_add_attention) {
    attention_.emplace(scope / "attentions.0", channels, config.norm_num_groups);
  }
}

Tensor VaeMid::operator()(Exec& exec, ConstView x) const {
  Tensor h = first_(exec, x);
  if (attention_) h = (*attention_)(exec, h);
  return second_(exec, h);
}

VaeEncoder::VaeEncoder(const Scope& scope, const VaeConfig& config)
    : conv_in_(scope / "conv_in", ConvSpec::same(config.in_channels, outermost(config), 3)),
      mid_(scope / "mid_block", config.block_out_channels.back(), config),
      norm_out_(scope / "conv_norm_out", config.block_out_channels.back(), config.norm_num_groups,
                kEps),
      conv_out_(scope / "conv_out",
                ConvSpec::same(config.block_out_channels.back(), 2 * config.latent_channels, 3)) {
  const auto& widths = config.block_out_channels;
  std::int64_t in = widths.front();
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const Scope block = scope / "down_blocks" / i;
    Level level;
    for (int j = 0; j < config.layers_per_block; ++j) {
      level.resnets.emplace_back(block / "resnets" / static_cast<std::size_t>(j),
                                 resnet_spec(in, widths[i], config));
      in = widths[i];
    }
    if (i + 1 < widths.size()) {
      // One zero column on the right, one zero row at the bottom, nothing on the other sides.
      level.down.emplace(block / "downsamplers.0.conv", ConvSpec{in, in, 3, 2, 0, 0, 1, 1});
    }
    levels_.push_back(std::move(level));
  }
}

Tensor VaeEncoder::operator()(Exec& exec, ConstView pixels) const {
  Tensor h = conv_in_(exec, pixels);  // [N, H, W, C0]
  for (const auto& level : levels_) {
    for (const auto& resnet : level.resnets) h = resnet(exec, h);
    if (level.down) h = (*level.down)(exec, h);  // halves H and W
  }
  h = mid_(exec, h);  // [N, h, w, C last]
  h = norm_out_(exec, h, Activation::kSilu);
  return conv_out_(exec, h);  // [N, h, w, 2 latent]
}

VaeDecoder::VaeDecoder(const Scope& scope, const VaeConfig& config)
    : conv_in_(scope / "conv_in",
               ConvSpec::same(config.latent_channels, config.block_out_channels.back(), 3)),
      mid_(scope / "mid_block", config.block_out_channels.back(), config),
      norm_out_(scope / "conv_norm_out", outermost(config), config.norm_num_groups, kEps),
      conv_out_(scope / "conv_out", ConvSpec::same(outermost(config), config.out_channels, 3)) {
  const auto& widths = config.block_out_channels;
  std::int64_t in = widths.back();
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const Scope block = scope / "up_blocks" / i;
    const std::int64_t out = widths[widths.size() - 1 - i];
    Level level;
    for (int j = 0; j < config.layers_per_block + 1; ++j) {
      level.resnets.emplace_back(block / "resnets" / static_cast<std::size_t>(j),
                                 resnet_spec(in, out, config));
      in = out;
    }
    if (i + 1 < widths.size()) {
      level.up.emplace(block / "upsamplers.0.conv", ConvSpec::same(out, out, 3));
    }
    levels_.push_back(std::move(level));
  }
}

Tensor VaeDecoder::operator()(Exec& exec, ConstView latents) const {
  Tensor h = conv_in_(exec, latents);  // [N, h, w, C last]
  h = mid_(exec, h);
  for (const auto& level : levels_) {
    for (const auto& resnet : level.resnets) h = resnet(exec, h);
    if (!level.up) continue;
    h = ops::upsample_nearest(exec, h, 2 * h.shape()[1], 2 * h.shape()[2]);
    h = (*level.up)(exec, h);  // doubles H and W
  }
  h = norm_out_(exec, h, Activation::kSilu);  // [N, H, W, C0]
  return conv_out_(exec, h);                  // [N, H, W, 3]
}

AutoencoderKL::AutoencoderKL(LoadContext& load, const VaeConfig& config)
    : config_(config),
      encoder_(Scope{load, "encoder"}, config),
      decoder_(Scope{load, "decoder"}, config) {
  const std::int64_t latent = config.latent_channels;
  require(config.scaling_factor != 0, "vae config: scaling_factor must not be 0");
  if (config.use_quant_conv) quant_conv_.emplace(Scope{load, "quant_conv"}, 2 * latent, 2 * latent);
  if (config.use_post_quant_conv) {
    post_quant_conv_.emplace(Scope{load, "post_quant_conv"}, latent, latent);
  }
  Tensor pick(heap(), DType::kF32, {latent, 2 * latent});
  for (std::int64_t i = 0; i < pick.shape().elements(); ++i) {
    pick.view().as<float>()[i] = i / (2 * latent) == i % (2 * latent) ? 1.0F : 0.0F;
  }
  mean_of_moments_ = load.backend.prepare_linear(pick, {});
}

std::int64_t AutoencoderKL::scale() const {
  return std::int64_t{1} << (config_.block_out_channels.size() - 1);
}

Tensor AutoencoderKL::decode(Exec& exec, ConstView latents) const {
  const AllocatorRun evaluation(exec.arena, run_key("vae decode", {}, latents.shape));
  Tensor z = ops::affine(exec, 1 / config_.scaling_factor, config_.shift_factor, latents);
  if (post_quant_conv_) z = (*post_quant_conv_)(exec, z);  // [N, h, w, latent]
  return decoder_(exec, z);                                // [N, H, W, 3]
}

Tensor AutoencoderKL::moments(Exec& exec, ConstView pixels) const {
  ensure(pixels.shape.rank() == 4, "pixels must be [N, H, W, C], not {}", pixels.shape.to_string());
  require(pixels.shape[1] % scale() == 0 && pixels.shape[2] % scale() == 0,
          "a picture of {}x{} does not divide by {}: choose another size", pixels.shape[2],
          pixels.shape[1], scale());
  Tensor h = encoder_(exec, pixels);  // [N, h, w, 2 latent]
  return quant_conv_ ? (*quant_conv_)(exec, h) : std::move(h);
}

Tensor AutoencoderKL::encode(Exec& exec, ConstView pixels) const {
  const AllocatorRun evaluation(exec.arena, run_key("vae encode", {}, pixels.shape));
  const Tensor mean = ops::linear(exec, *mean_of_moments_, moments(exec, pixels));
  return ops::affine(exec, config_.scaling_factor, -config_.shift_factor * config_.scaling_factor,
                     mean);  // [N, h, w, latent]
}

}  // namespace seamwright::model

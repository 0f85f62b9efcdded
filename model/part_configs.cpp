// Configs of the parts around the U-Net: VAEs and the text encoder.
#include <fmt/format.h>

#include "model/config_readers.h"

namespace seamwright::model {
namespace {

constexpr IntRange kChannels{1, 16384};
constexpr IntRange kLayers{1, 64};
constexpr IntRange kTinyBlocks{0, 64};  // a stage of an AutoencoderTiny may be a convolution alone
constexpr std::size_t kMaxBlocks = 8;

int to_int(std::int64_t value) { return static_cast<int>(value); }  // ranges here fit

std::vector<int> to_ints(const std::vector<std::int64_t>& values) {
  return {values.begin(), values.end()};
}

void refuse_other_types(const Config& config, std::string_view key, const std::string& only,
                        std::size_t blocks) {
  const auto types = config.texts(key, {only}, kMaxBlocks);
  for (const std::string& type : types) {
    if (type != only) config.unsupported(key, fmt::format("supported block type: {}", only));
  }
  if (types.size() != blocks) {
    config.wrong(key, fmt::format("it must have one entry for each of the {} blocks", blocks));
  }
}

void refuse_list(const Config& config, std::string_view key) {
  if (config.has(key)) {
    config.unsupported(key, "latents normalised per channel are not supported");
  }
}

}  // namespace

VaeConfig read_vae_config(const Config& config) {
  config.choice("_class_name", "AutoencoderKL", {"AutoencoderKL"});
  VaeConfig vae;
  vae.in_channels = config.integer("in_channels", 3, kChannels);
  vae.out_channels = config.integer("out_channels", 3, kChannels);
  vae.block_out_channels = config.integers("block_out_channels", {64}, kChannels, kMaxBlocks);
  refuse_other_types(config, "down_block_types", "DownEncoderBlock2D",
                     vae.block_out_channels.size());
  refuse_other_types(config, "up_block_types", "UpDecoderBlock2D", vae.block_out_channels.size());
  vae.layers_per_block = to_int(config.integer("layers_per_block", 1, kLayers));
  vae.latent_channels = config.integer("latent_channels", 4, kChannels);
  vae.norm_num_groups = to_int(config.integer("norm_num_groups", 32, kChannels));
  vae.scaling_factor = config.number("scaling_factor", 0.18215, {1e-6, 1e6});
  vae.shift_factor = config.number("shift_factor", 0, {-1e6, 1e6});
  vae.use_quant_conv = config.boolean("use_quant_conv", true);
  vae.use_post_quant_conv = config.boolean("use_post_quant_conv", true);
  vae.mid_block_add_attention = config.boolean("mid_block_add_attention", true);
  config.choice("act_fn", "silu", {"silu", "swish"});
  refuse_list(config, "latents_mean");
  refuse_list(config, "latents_std");
  for (const std::int64_t count : vae.block_out_channels) {
    if (count % vae.norm_num_groups != 0) {
      config.wrong("norm_num_groups",
                   fmt::format("{} channels do not divide into that many groups", count));
    }
  }
  return vae;
}

TinyVaeConfig read_tiny_vae_config(const Config& config) {
  config.choice("_class_name", "AutoencoderTiny", {"AutoencoderTiny"});
  const std::vector<std::int64_t> wide(4, 64);
  TinyVaeConfig vae;
  vae.in_channels = config.integer("in_channels", 3, kChannels);
  vae.out_channels = config.integer("out_channels", 3, kChannels);
  vae.encoder_block_out_channels =
      config.integers("encoder_block_out_channels", wide, kChannels, kMaxBlocks);
  vae.decoder_block_out_channels =
      config.integers("decoder_block_out_channels", wide, kChannels, kMaxBlocks);
  vae.num_encoder_blocks =
      to_ints(config.integers("num_encoder_blocks", {1, 3, 3, 3}, kTinyBlocks, kMaxBlocks));
  vae.num_decoder_blocks =
      to_ints(config.integers("num_decoder_blocks", {3, 3, 3, 1}, kTinyBlocks, kMaxBlocks));
  vae.latent_channels = config.integer("latent_channels", 4, kChannels);
  config.refuse_unless_default("latent_magnitude", 3);
  config.refuse_unless_default("latent_shift", 0.5);
  vae.scaling_factor = config.number("scaling_factor", 1, {1e-6, 1e6});
  vae.shift_factor = config.number("shift_factor", 0, {-1e6, 1e6});
  config.choice("act_fn", "relu", {"relu"});
  config.choice("upsample_fn", "nearest", {"nearest"});
  config.refuse_unless_default("upsampling_scaling_factor", 2);
  if (vae.encoder_block_out_channels.size() != vae.num_encoder_blocks.size()) {
    config.wrong("num_encoder_blocks",
                 "it must have as many entries as encoder_block_out_channels");
  }
  if (vae.decoder_block_out_channels.size() != vae.num_decoder_blocks.size()) {
    config.wrong("num_decoder_blocks",
                 "it must have as many entries as decoder_block_out_channels");
  }
  return vae;
}

ClipTextConfig read_clip_text_config(const Config& config) {
  ClipTextConfig clip;
  clip.vocab_size = config.integer("vocab_size", 49408, {1, 1 << 24});
  clip.hidden_size = config.integer("hidden_size", 512, kChannels);
  clip.intermediate_size = config.integer("intermediate_size", 2048, {1, 1 << 20});
  clip.num_hidden_layers = to_int(config.integer("num_hidden_layers", 12, {1, 256}));
  clip.num_attention_heads = to_int(config.integer("num_attention_heads", 8, {1, 1024}));
  clip.max_position_embeddings = config.integer("max_position_embeddings", 77, {3, 4096});
  clip.layer_norm_eps = config.number("layer_norm_eps", 1e-5, {1e-12, 1});
  clip.activation = config.choice("hidden_act", "quick_gelu", {"quick_gelu", "gelu"}) == "gelu"
                        ? TextActivation::kGelu
                        : TextActivation::kQuickGelu;
  if (clip.hidden_size % clip.num_attention_heads != 0) {
    config.wrong("num_attention_heads",
                 fmt::format("{} channels do not divide into that many heads", clip.hidden_size));
  }
  return clip;
}

}  // namespace seamwright::model

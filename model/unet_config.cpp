#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "model/config_readers.h"

namespace seamwright::model {
namespace {

constexpr IntRange kChannels{1, 16384};
constexpr IntRange kLayers{1, 64};
constexpr IntRange kHeads{1, 1024};
constexpr std::size_t kMaxBlocks = 8;

std::vector<int> to_ints(const std::vector<std::int64_t>& values) {
  return {values.begin(), values.end()};
}

template <class T>
std::vector<T> reversed(std::vector<T> values) {
  std::reverse(values.begin(), values.end());
  return values;
}

// One value per block, all within `range`, which fits an int.
std::vector<int> per_block(const Config& config, std::string_view key, int fallback,
                           std::size_t blocks, IntRange range) {
  return to_ints(config.integer_per_block(key, fallback, blocks, range));
}

// The same for the up path: its own key, or the down path's values mirrored.
std::vector<int> per_up_block(const Config& config, std::string_view key,
                              const std::vector<int>& down, IntRange range) {
  if (!config.has(key)) return reversed(down);
  return per_block(config, key, 1, down.size(), range);
}

// Block type names -> whether each has text attention.
std::vector<bool> text_attention(const Config& config, std::string_view key,
                                 std::vector<std::string> fallback, const std::string& plain,
                                 const std::string& attentive) {
  std::vector<bool> out;
  for (const std::string& type : config.texts(key, std::move(fallback), kMaxBlocks)) {
    if (type != plain && type != attentive) {
      config.unsupported(key, fmt::format("supported block types: {}, {}", plain, attentive));
    }
    out.push_back(type == attentive);
  }
  return out;
}

void read_block_types(const Config& config, bool motion, UNetConfig& unet) {
  const std::string suffix = motion ? "Motion" : "2D";
  const std::string down = "DownBlock" + suffix, cross_down = "CrossAttn" + down;
  const std::string up = "UpBlock" + suffix, cross_up = "CrossAttn" + up;
  unet.down_attention = text_attention(
      config, "down_block_types", {cross_down, cross_down, cross_down, down}, down, cross_down);
  unet.up_attention =
      text_attention(config, "up_block_types", {up, cross_up, cross_up, cross_up}, up, cross_up);
  if (unet.down_attention.size() != unet.block_out_channels.size()) {
    config.wrong("down_block_types", "it must have as many entries as block_out_channels");
  }
  if (unet.up_attention.size() != unet.block_out_channels.size()) {
    config.wrong("up_block_types", "it must have as many entries as block_out_channels");
  }
}

std::vector<int> read_heads(const Config& config, bool motion, std::size_t blocks) {
  // In these two classes `attention_head_dim` is the number of heads (a historical misnaming).
  const char* key =
      motion || config.has("num_attention_heads") ? "num_attention_heads" : "attention_head_dim";
  return per_block(config, key, 8, blocks, kHeads);
}

void check_heads(const Config& config, const UNetConfig& unet) {
  const std::size_t blocks = unet.heads.size();
  for (std::size_t i = 0; i < blocks; ++i) {
    // The mid block attends with the last block's heads, whatever that block's type is.
    const bool attends =
        unet.down_attention[i] || unet.up_attention[blocks - 1 - i] || i + 1 == blocks;
    if (attends && unet.block_out_channels[i] % unet.heads[i] != 0) {
      config.wrong("block_out_channels", fmt::format("{} channels do not divide into {} heads",
                                                     unet.block_out_channels[i], unet.heads[i]));
    }
  }
}

void check_groups(const Config& config, const std::vector<std::int64_t>& channels,
                  std::int64_t groups) {
  for (const std::int64_t count : channels) {
    if (count % groups != 0) {
      config.wrong("norm_num_groups",
                   fmt::format("{} channels do not divide into that many groups", count));
    }
  }
}

// Options of the classes that change the computation and that no model of this family uses.
void refuse_other_architectures(const Config& config) {
  for (const char* key :
       {"encoder_hid_dim", "encoder_hid_dim_type", "class_embed_type", "num_class_embeds",
        "addition_embed_type", "time_cond_proj_dim", "time_embedding_dim", "time_embedding_act_fn",
        "timestep_post_act", "cross_attention_norm", "dual_cross_attention", "center_input_sample",
        "only_cross_attention", "mid_block_only_cross_attention", "resnet_skip_time_act",
        "class_embeddings_concat"}) {
    config.refuse_unless_default(key);
  }
  config.refuse_unless_default("resnet_time_scale_shift", "default");
  config.refuse_unless_default("attention_type", "default");
  config.refuse_unless_default("time_embedding_type", "positional");
  config.refuse_unless_default("mid_block_type", "UNetMidBlock2DCrossAttn");
  config.refuse_unless_default("downsample_padding", 1);
  config.refuse_unless_default("conv_in_kernel", 3);
  config.refuse_unless_default("conv_out_kernel", 3);
  config.refuse_unless_default("mid_block_layers", 1);
  config.refuse_unless_default("resnet_out_scale_factor", 1);
  config.refuse_unless_default("mid_block_scale_factor", 1);
  config.refuse_unless_default("freq_shift", 0);
  if (!config.boolean("flip_sin_to_cos", true)) {
    config.unsupported("flip_sin_to_cos", "time embeddings with the sine first are not supported");
  }
}

// One number, or a list of one (diffusers allows a list per mid layer, and there is one layer).
int single_integer(const Config& config, std::string_view key, int fallback) {
  return per_block(config, key, fallback, 1, kLayers).front();
}

MotionConfig read_motion(const Config& config, const UNetConfig& unet) {
  MotionConfig motion;
  const std::size_t blocks = unet.block_out_channels.size();
  motion.block_out_channels = unet.block_out_channels;
  motion.layers_per_block = unet.layers_per_block;
  motion.heads = per_block(config, "motion_num_attention_heads", 8, blocks, kHeads);
  motion.up_heads =
      per_up_block(config, "reverse_motion_num_attention_heads", motion.heads, kHeads);
  motion.mid_heads = motion.heads.back();
  motion.transformer_layers =
      per_block(config, "temporal_transformer_layers_per_block", 1, blocks, kLayers);
  motion.up_transformer_layers = per_up_block(
      config, "reverse_temporal_transformer_layers_per_block", motion.transformer_layers, kLayers);
  motion.max_seq_length = config.integer("motion_max_seq_length", 32, {1, 4096});
  motion.use_mid_block = config.boolean("use_motion_mid_block", true);
  motion.mid_transformer_layers =
      single_integer(config, "temporal_transformer_layers_per_mid_block", 1);
  return motion;
}

void check_motion_heads(const MotionConfig& motion, const Config& config) {
  const std::vector<std::int64_t>& channels = motion.block_out_channels;
  const std::size_t blocks = channels.size();
  for (std::size_t i = 0; i < blocks; ++i) {
    for (const int heads : {motion.heads[i], motion.up_heads[blocks - 1 - i]}) {
      if (channels[i] % heads != 0) {
        config.wrong("motion_num_attention_heads",
                     fmt::format("{} channels do not divide into {} heads", channels[i], heads));
      }
    }
    // Interleaved sine and cosine positions come in pairs of channels.
    if (channels[i] % 2 != 0) {
      config.wrong("block_out_channels", "motion modules need an even number of channels");
    }
  }
}

void read_sample_size(const Config& config, UNetConfig& unet) {
  const Json* size = config.value("sample_size");
  if (size == nullptr) return;
  const auto both = config.integer_per_block("sample_size", 64, 2, {1, 65536});
  unet.sample_height = both[0];
  unet.sample_width = both[1];
}

}  // namespace

UNetConfig read_unet_config(const Config& config) {
  const std::string name = config.choice("_class_name", "UNet2DConditionModel",
                                         {"UNet2DConditionModel", "UNetMotionModel"});
  const bool motion = name == "UNetMotionModel";
  refuse_other_architectures(config);

  UNetConfig unet;
  unet.in_channels = config.integer("in_channels", 4, kChannels);
  unet.out_channels = config.integer("out_channels", 4, kChannels);
  unet.block_out_channels =
      config.integers("block_out_channels", {320, 640, 1280, 1280}, kChannels, kMaxBlocks);
  read_block_types(config, motion, unet);
  const std::size_t blocks = unet.block_out_channels.size();
  unet.layers_per_block = per_block(config, "layers_per_block", 2, blocks, kLayers);
  unet.heads = read_heads(config, motion, blocks);
  unet.transformer_layers = per_block(config, "transformer_layers_per_block", 1, blocks, kLayers);
  unet.up_transformer_layers = per_up_block(config, "reverse_transformer_layers_per_block",
                                            unet.transformer_layers, kLayers);
  unet.mid_transformer_layers = motion ? single_integer(config, "transformer_layers_per_mid_block",
                                                        unet.transformer_layers.back())
                                       : unet.transformer_layers.back();
  unet.cross_attention_dim =
      config.integer_per_block("cross_attention_dim", 1280, blocks, kChannels);
  unet.norm_num_groups = static_cast<int>(config.integer("norm_num_groups", 32, kChannels));
  unet.norm_eps = config.number("norm_eps", 1e-5, {1e-12, 1});
  unet.use_linear_projection = config.boolean("use_linear_projection", false);
  read_sample_size(config, unet);
  config.choice("act_fn", "silu", {"silu", "swish"});

  if (unet.block_out_channels.front() % 2 != 0) {
    config.wrong("block_out_channels", "the first entry must be even (sine and cosine of time)");
  }
  check_groups(config, unet.block_out_channels, unet.norm_num_groups);
  check_heads(config, unet);
  if (motion) {
    unet.motion = read_motion(config, unet);
    check_motion_heads(*unet.motion, config);
  }
  return unet;
}

MotionConfig read_motion_adapter_config(const Config& config) {
  config.choice("_class_name", "MotionAdapter", {"MotionAdapter"});
  MotionConfig motion;
  motion.block_out_channels =
      config.integers("block_out_channels", {320, 640, 1280, 1280}, kChannels, kMaxBlocks);
  const std::size_t blocks = motion.block_out_channels.size();
  motion.layers_per_block = per_block(config, "motion_layers_per_block", 2, blocks, kLayers);
  motion.heads = per_block(config, "motion_num_attention_heads", 8, blocks, kHeads);
  motion.up_heads = reversed(motion.heads);
  motion.mid_heads = motion.heads.back();
  motion.transformer_layers =
      per_block(config, "motion_transformer_layers_per_block", 1, blocks, kLayers);
  motion.up_transformer_layers = reversed(motion.transformer_layers);
  motion.max_seq_length = config.integer("motion_max_seq_length", 32, {1, 4096});
  motion.use_mid_block = config.boolean("use_motion_mid_block", true);
  motion.mid_transformer_layers =
      single_integer(config, "motion_transformer_layers_per_mid_block", 1);
  config.refuse_unless_default("motion_mid_block_layers_per_block", 1);
  if (config.has("conv_in_channels")) {
    config.unsupported("conv_in_channels",
                       "adapters that replace the U-Net's input (PIA) need a reference image");
  }
  check_motion_heads(motion, config);
  return motion;
}

UNetConfig with_motion(UNetConfig unet, const MotionConfig& adapter,
                       const std::string& adapter_file) {
  require(!unet.motion,
          "{}: the U-Net already has motion modules (UNetMotionModel): leave the motion adapter "
          "away",
          adapter_file);
  require(adapter.block_out_channels == unet.block_out_channels,
          "{}: the adapter's blocks have channels [{}], the U-Net's [{}]: it belongs to another "
          "base model",
          adapter_file, fmt::join(adapter.block_out_channels, ", "),
          fmt::join(unet.block_out_channels, ", "));
  require(adapter.layers_per_block == unet.layers_per_block,
          "{}: the adapter has [{}] layers per block, the U-Net [{}]: it belongs to another base "
          "model",
          adapter_file, fmt::join(adapter.layers_per_block, ", "),
          fmt::join(unet.layers_per_block, ", "));
  unet.motion = adapter;
  return unet;
}

}  // namespace seamwright::model

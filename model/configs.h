// What the config.json files of a model say about the shapes of its networks, with the class
// defaults for keys that are missing or null, and lists already spread to one value per block.
// Threads: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace seamwright::model {

// Motion modules: a MotionAdapter's config, or the motion_* keys of a UNetMotionModel.
struct MotionConfig {
  std::vector<std::int64_t> block_out_channels = {320, 640, 1280, 1280};  // adapters only
  std::vector<int> layers_per_block = {2, 2, 2, 2};                       // adapters only
  // Blocks per motion module, one value per down block; up blocks may differ (reversed by default).
  std::vector<int> transformer_layers = {1, 1, 1, 1};
  std::vector<int> up_transformer_layers = {1, 1, 1, 1};  // in the order of up_blocks
  int mid_transformer_layers = 1;
  std::vector<int> heads = {8, 8, 8, 8};     // per down block
  std::vector<int> up_heads = {8, 8, 8, 8};  // in the order of up_blocks
  int mid_heads = 8;
  std::int64_t max_seq_length = 32;
  bool use_mid_block = true;
  std::optional<std::int64_t> conv_in_channels;  // adapters that widen conv_in (PIA)
};

// UNet2DConditionModel, or UNetMotionModel when `motion` is set. Vectors: one value per block.
struct UNetConfig {
  std::int64_t in_channels = 4, out_channels = 4;
  std::int64_t sample_height = 64, sample_width = 64;
  std::vector<std::int64_t> block_out_channels = {320, 640, 1280, 1280};
  std::vector<bool> down_attention = {true, true, true, false};  // CrossAttnDownBlock*
  std::vector<bool> up_attention = {false, true, true, true};    // in the order of up_blocks
  std::vector<int> layers_per_block = {2, 2, 2, 2};              // down blocks; up: reversed, + 1
  std::vector<int> transformer_layers = {1, 1, 1, 1};            // down blocks
  std::vector<int> up_transformer_layers = {1, 1, 1, 1};         // in the order of up_blocks
  int mid_transformer_layers = 1;
  std::vector<std::int64_t> cross_attention_dim = {768, 768, 768, 768};
  std::vector<int> heads = {8, 8, 8, 8};  // the key attention_head_dim counts heads
  int norm_num_groups = 32;
  double norm_eps = 1e-5;
  bool use_linear_projection = false;
  std::optional<MotionConfig> motion;
};

struct VaeConfig {  // AutoencoderKL
  std::int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  std::vector<std::int64_t> block_out_channels = {128, 256, 512, 512};
  int layers_per_block = 2;
  int norm_num_groups = 32;
  double scaling_factor = 0.18215, shift_factor = 0;
  bool use_quant_conv = true, use_post_quant_conv = true;
  bool mid_block_add_attention = true;
};

struct TinyVaeConfig {  // AutoencoderTiny: one stage per entry
  std::int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  std::vector<std::int64_t> encoder_block_out_channels = {64, 64, 64, 64};
  std::vector<std::int64_t> decoder_block_out_channels = {64, 64, 64, 64};
  std::vector<int> num_encoder_blocks = {1, 3, 3, 3};
  std::vector<int> num_decoder_blocks = {3, 3, 3, 1};
  double scaling_factor = 1.0, shift_factor = 0;
};

enum class TextActivation : std::uint8_t { kQuickGelu, kGelu };

struct ClipTextConfig {
  std::int64_t vocab_size = 49408, hidden_size = 768, intermediate_size = 3072;
  int num_hidden_layers = 12, num_attention_heads = 12;
  std::int64_t max_position_embeddings = 77;
  double layer_norm_eps = 1e-5;
  TextActivation activation = TextActivation::kQuickGelu;
};

}  // namespace seamwright::model

// Configs of networks whose file has none: read off names and shapes.
#include <algorithm>
#include <string>

#include "base/error.h"
#include "model/files/single_file.h"

namespace seamwright::model {
namespace {

constexpr std::int64_t kMostLayers = 64;

// The shape of a tensor that must be there, with at least this rank.
Shape shape_of(const WeightSource& source, const std::string& name, int rank) {
  const auto found = source.find(name);
  if (!found) {
    fail(ErrorCode::kCorrupt,
         "{}: tensor '{}' (diffusers' name) is missing: the file is incomplete",
         source.description(), name);
  }
  if (found->shape.rank() < rank) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' has shape {}, but must have {} dimensions",
         source.description(), name, found->shape.to_string(), rank);
  }
  return found->shape;
}

std::int64_t width_of(const WeightSource& source, const std::string& name, int rank = 1) {
  const std::int64_t width = shape_of(source, name, rank)[0];
  if (width < 1 || width > 16384) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' has a first dimension of {}, not 1 to 16384",
         source.description(), name, width);
  }
  return width;
}

// How many of "<head>.0.<tail>", "<head>.1.<tail>" ... there are.
int count(const WeightSource& source, const std::string& head, const std::string& tail) {
  int n = 0;
  while (n < kMostLayers && source.find(fmt::format("{}.{}.{}", head, n, tail))) ++n;
  return n;
}

int layers(const WeightSource& source, const std::string& head, const std::string& tail) {
  const int n = count(source, head, tail);
  if (n == 0) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}.0.{}' is missing: the file is incomplete",
         source.description(), head, tail);
  }
  return n;
}

}  // namespace

int norm_groups(const std::vector<std::int64_t>& widths) {
  int groups = 32;
  const auto divides = [&](std::int64_t width) { return width % groups == 0; };
  while (groups > 1 && !std::ranges::all_of(widths, divides)) groups /= 2;
  return groups;
}

UNetConfig unet_config_of(const WeightSource& unet) {
  UNetConfig config;
  config.in_channels = shape_of(unet, "conv_in.weight", 4)[1];
  config.out_channels = width_of(unet, "conv_out.weight");
  const std::string norm = "norm1.weight";
  const int blocks = layers(unet, "down_blocks", "resnets.0." + norm);
  if (blocks > 8) fail(ErrorCode::kCorrupt, "{}: {} blocks", unet.description(), blocks);
  const auto n = static_cast<std::size_t>(blocks);
  config.block_out_channels.assign(n, 0);
  config.down_attention.assign(n, false);
  config.up_attention.assign(n, false);
  config.layers_per_block.assign(n, 0);
  config.transformer_layers.assign(n, 1);
  config.up_transformer_layers.assign(n, 1);
  config.heads.assign(n, 8);
  for (std::size_t i = 0; i < n; ++i) {
    const std::string down = fmt::format("down_blocks.{}", i), up = fmt::format("up_blocks.{}", i);
    config.block_out_channels[i] = width_of(unet, down + ".resnets.0.conv1.weight");
    config.layers_per_block[i] = layers(unet, down + ".resnets", norm);
    config.down_attention[i] = unet.find(down + ".attentions.0.norm.weight").has_value();
    config.up_attention[i] = unet.find(up + ".attentions.0.norm.weight").has_value();
  }
  const std::string key = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
  config.cross_attention_dim.assign(n, shape_of(unet, key, 2)[1]);
  config.norm_num_groups = norm_groups(config.block_out_channels);
  return config;
}

VaeConfig vae_config_of(const WeightSource& vae) {
  VaeConfig config;
  config.latent_channels = shape_of(vae, "decoder.conv_in.weight", 4)[1];
  config.in_channels = shape_of(vae, "encoder.conv_in.weight", 4)[1];
  config.out_channels = width_of(vae, "decoder.conv_out.weight");
  const int blocks = layers(vae, "encoder.down_blocks", "resnets.0.norm1.weight");
  config.block_out_channels.clear();
  for (int i = 0; i < blocks; ++i) {
    config.block_out_channels.push_back(
        width_of(vae, fmt::format("encoder.down_blocks.{}.resnets.0.conv1.weight", i)));
  }
  config.layers_per_block = layers(vae, "encoder.down_blocks.0.resnets", "norm1.weight");
  config.norm_num_groups = norm_groups(config.block_out_channels);
  config.use_quant_conv = vae.find("quant_conv.weight").has_value();
  config.use_post_quant_conv = vae.find("post_quant_conv.weight").has_value();
  config.mid_block_add_attention =
      vae.find("decoder.mid_block.attentions.0.group_norm.weight").has_value();
  return config;
}

bool is_tiny_vae(const WeightSource& vae) {
  return vae.find("decoder.layers.0.weight").has_value();
}

ClipTextConfig text_config_of(const WeightSource& text) {
  // Some files leave out the prefix that all public ones have.
  const std::string model =
      text.find("text_model.final_layer_norm.weight") ? "text_model." : std::string();
  ClipTextConfig config;
  const Shape tokens = shape_of(text, model + "embeddings.token_embedding.weight", 2);
  config.vocab_size = tokens[0];
  config.hidden_size = tokens[1];
  config.max_position_embeddings = width_of(text, model + "embeddings.position_embedding.weight");
  config.num_hidden_layers = layers(text, model + "encoder.layers", "mlp.fc1.weight");
  config.intermediate_size = width_of(text, model + "encoder.layers.0.mlp.fc1.weight");
  return config;
}

MotionConfig motion_config_of(const WeightSource& motion) {
  const std::string norm = "norm.weight";
  MotionConfig config;
  const int blocks = layers(motion, "down_blocks", "motion_modules.0." + norm);
  if (blocks > 8) fail(ErrorCode::kCorrupt, "{}: {} blocks", motion.description(), blocks);
  const auto n = static_cast<std::size_t>(blocks);
  config.block_out_channels.assign(n, 0);
  config.layers_per_block.assign(n, 0);
  for (auto* one : {&config.transformer_layers, &config.up_transformer_layers}) one->assign(n, 1);
  for (auto* one : {&config.heads, &config.up_heads}) one->assign(n, 8);
  for (std::size_t i = 0; i < n; ++i) {
    const std::string modules = fmt::format("down_blocks.{}.motion_modules", i);
    config.block_out_channels[i] = width_of(motion, modules + ".0." + norm);
    config.layers_per_block[i] = layers(motion, modules, norm);
    config.transformer_layers[i] =
        layers(motion, modules + ".0.transformer_blocks", "norm1.weight");
  }
  config.up_transformer_layers = config.transformer_layers;
  std::ranges::reverse(config.up_transformer_layers);
  config.use_mid_block = motion.find("mid_block.motion_modules.0." + norm).has_value();
  // Distilled ones leave the table out; it is then the sinusoid, of the length of v2 and v3.
  const auto table =
      motion.find("down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe");
  if (table && table->shape.rank() == 3) config.max_seq_length = table->shape[1];
  return config;
}

}  // namespace seamwright::model

#include "model/random_checkpoint.h"

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "model/convert.h"
#include "model/dry/dry_backend.h"
#include "model/files/original_names.h"
#include "model/files/single_file.h"
#include "model/nets/clip_text.h"
#include "model/nets/sinusoid.h"
#include "model/nets/unet.h"
#include "model/nets/vae.h"
#include "model/safetensors.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Shapes = std::map<std::string, Shape>;

// Agrees to every tensor a network asks for, and remembers it.
class RecordingSource final : public WeightSource {
 public:
  explicit RecordingSource(std::int64_t largest)
      : zeros_(static_cast<float*>(std::calloc(static_cast<std::size_t>(largest), 4)), std::free) {
    if (!zeros_) fail(ErrorCode::kResource, "out of memory");
  }
  std::optional<ConstView> find(std::string_view name) const override {
    // Text encoders are recognised by this name, with the prefix of published files.
    if (name == "text_model.final_layer_norm.weight") {
      return ConstView{zeros_.get(), DType::kF32, Shape{1}};
    }
    return std::nullopt;
  }
  std::optional<ConstView> find_as(std::string_view name, const Shape& expected) const override {
    shapes_.emplace(std::string(name), expected);
    return ConstView{zeros_.get(), DType::kF32, expected};
  }
  std::vector<std::string> names() const override { return {}; }
  std::string description() const override { return "shapes"; }
  Shapes& shapes() { return shapes_; }

 private:
  std::unique_ptr<float, decltype(&std::free)> zeros_;
  mutable Shapes shapes_;
};

struct Sizes {
  UNetConfig unet;
  VaeConfig vae;
  ClipTextConfig text;
};

Sizes shrunk(int by, MotionVersion motion) {
  require(by == 1 || by == 2 || by == 4 || by == 8, "shrink must be 1, 2, 4 or 8, not {}", by);
  Sizes sizes;
  sizes.unet.motion.emplace();
  sizes.unet.motion->use_mid_block = motion == MotionVersion::kV2;
  sizes.unet.motion->max_seq_length = motion == MotionVersion::kV1 ? 24 : 32;
  for (auto& width : sizes.unet.block_out_channels) width /= by;
  for (auto& width : sizes.unet.cross_attention_dim) width /= by;
  for (auto& width : sizes.vae.block_out_channels) width /= by;
  sizes.unet.norm_num_groups = norm_groups(sizes.unet.block_out_channels);
  sizes.vae.norm_num_groups = norm_groups(sizes.vae.block_out_channels);
  sizes.text.hidden_size /= by;
  sizes.text.intermediate_size /= by;
  return sizes;
}

bool is_pointwise_conv(const std::string& name, const Shape& shape) {
  const auto ends = [&](std::string_view tail) { return name.ends_with(tail); };
  const bool projection = ends("proj_in.weight") || ends("proj_out.weight");
  return shape.rank() == 2 && (ends("conv_shortcut.weight") || ends("quant_conv.weight") ||
                               (projection && name.find(".attentions.") != std::string::npos));
}

// Uniform values whose scale keeps activations of order one: branches that are added to a running
// sum are small, norms are near one.
struct Scale {
  float centre = 0, half_width = 0;
};
Scale scale_of(const std::string& name, const Shape& shape) {
  const auto ends = [&](std::string_view tail) { return name.ends_with(tail); };
  if (ends("bias")) return {0, 0.02F};
  if (shape.rank() == 1) return {1, 0.05F};
  if (ends("token_embedding.weight")) return {0, 0.7F};
  if (ends("position_embedding.weight")) return {0, 0.2F};
  const double fan_in = static_cast<double>(shape.elements()) / static_cast<double>(shape[0]);
  const bool branch = ends("conv2.weight") || ends("to_out.0.weight") || ends("net.2.weight") ||
                      ends("proj_out.weight") || ends("out_proj.weight") || ends("fc2.weight");
  return {0, static_cast<float>((branch ? 0.3 : 1.0) * std::sqrt(3 / fan_in))};
}

std::uint64_t mixed(std::uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

void fill(const std::string& name, const Shape& shape, std::uint64_t seed, std::uint16_t* out) {
  const auto n = static_cast<std::uint64_t>(shape.elements());
  if (name.ends_with(".pe")) {
    const Tensor table = motion_position_table(shape[1], shape[2]);
    convert(table, View{out, DType::kF16, table.shape()});
    return;
  }
  const Scale scale = scale_of(name, shape);
  const std::uint64_t key = mixed(run_key(name, {seed}, shape));
  for (std::uint64_t i = 0; i < n; i += 2) {
    const std::uint64_t bits = mixed(key + i);
    for (std::uint64_t k = 0; k < 2 && i + k < n; ++k) {
      const auto word = static_cast<std::int32_t>(static_cast<std::uint32_t>(bits >> (32 * k)));
      out[i + k] =
          float_to_half(scale.centre + scale.half_width * static_cast<float>(word) * 0x1p-31F);
    }
  }
}

void write_json(const fs::path& file, const Json& json) {
  std::ofstream out(file);
  out << json.dump(2) << "\n";
  out.flush();
  if (!out) fail(ErrorCode::kIo, "cannot write {}", file.string());
}

class Writer {
 public:
  explicit Writer(const RandomCheckpoint& request)
      : request_(request),
        sizes_(shrunk(request.shrink, request.motion)),
        backend_(make_dry_backend()) {}

  std::size_t write() {
    std::error_code ignored;
    require(!fs::exists(request_.folder) || fs::is_empty(request_.folder, ignored),
            "{} exists and is not empty: name a new folder", request_.folder.string());
    fs::create_directories(request_.folder / "tokenizer");
    if (!request_.original_names) {
      for (const char* part : {"unet", "motion_adapter", "vae", "text_encoder", "scheduler"}) {
        fs::create_directories(request_.folder / part);
      }
    }
    unet();
    vae();
    text();
    if (request_.original_names) {
      write_renamed(kRandomCheckpointFile, checkpoint_);
      write_renamed(kRandomMotionFile, motion_);
    } else {
      configs();
    }
    tokenizer();
    return bytes_;
  }

 private:
  std::int64_t largest() const {
    const std::int64_t wide = sizes_.unet.block_out_channels.back();
    return std::max(sizes_.text.vocab_size * sizes_.text.hidden_size, 2 * wide * wide * 9);
  }

  void unet() {
    RecordingSource unet_source(largest()), motion_source(largest());
    WeightLedger unet_ledger(unet_source), motion_ledger(motion_source);
    LoadContext unet_load{unet_ledger, *backend_}, motion_load{motion_ledger, *backend_};
    const UNet network(sizes_.unet, unet_load, &motion_load);
    Shapes& motion = motion_source.shapes();
    Shapes tables;
    for (const auto& [name, shape] : motion) {
      constexpr std::string_view kTail = "norm1.weight";
      if (!name.ends_with(kTail)) continue;
      tables.emplace(name.substr(0, name.size() - kTail.size()) + "pos_embed.pe",
                     Shape{1, sizes_.unet.motion->max_seq_length, shape[0]});
    }
    motion.merge(tables);
    part("unet", "diffusion_pytorch_model", unet_source.shapes());
    part("motion_adapter", "diffusion_pytorch_model", motion);
  }

  void vae() {
    RecordingSource source(largest());
    WeightLedger ledger(source);
    LoadContext load{ledger, *backend_};
    const AutoencoderKL network(load, sizes_.vae);
    part("vae", "diffusion_pytorch_model", source.shapes());
  }

  void text() {
    RecordingSource source(largest());
    WeightLedger ledger(source);
    LoadContext load{ledger, *backend_};
    const ClipText network(load, sizes_.text);
    part("text_encoder", "model", source.shapes());
  }

  // A tensor of an original-layout file: its values are drawn under the diffusers name.
  struct Renamed {
    std::string stored, drawn_as;
    Shape stored_shape, shape;  // here and in the diffusers layout
  };

  void rename(const std::string& part, const Shapes& shapes) {
    for (const auto& [name, shape] : shapes) {
      if (part == "motion_adapter") {
        for (auto& original : motion_to_original(name)) {
          motion_.push_back({std::move(original), name, shape, shape});
        }
        continue;
      }
      std::string stored =
          part == "unet"  ? fmt::format("{}{}", kOriginalUNetPrefix, unet_to_original(name))
          : part == "vae" ? fmt::format("{}{}", kOriginalVaePrefix, vae_to_original(name))
                          : fmt::format("{}{}", kOriginalTextPrefix, name);
      // The VAE's attention is four 1x1 convolutions there.
      const bool attention = part == "vae" && shape.rank() == 2 && name.ends_with(".weight");
      checkpoint_.push_back(
          {std::move(stored), name, attention ? Shape{shape[0], shape[1], 1, 1} : shape, shape});
    }
  }

  void write_renamed(const char* file, const std::vector<Renamed>& all) {
    std::vector<Tensor> values;
    std::vector<StoredTensor> tensors;
    for (const auto& one : all) {
      Tensor& tensor = values.emplace_back(heap(), DType::kF16, one.stored_shape);
      fill(one.drawn_as, one.shape, request_.seed, tensor.view().as<std::uint16_t>());
      const ConstView view = tensor;
      tensors.push_back({one.stored,
                         DType::kF16,
                         view.shape,
                         {static_cast<const std::byte*>(view.data), view.bytes()}});
      bytes_ += view.bytes();
    }
    write_safetensors(request_.folder / file, tensors, {{"format", "pt"}});
  }

  // One file, or shards of at most shard_bytes with an index.
  void part(const std::string& folder, const std::string& stem, Shapes& shapes) {
    if (request_.original_names) {
      for (auto& [name, shape] : shapes) {
        if (is_pointwise_conv(name, shape)) shape = Shape{shape[0], shape[1], 1, 1};
      }
      return rename(folder, shapes);
    }
    std::vector<std::vector<std::string>> shards(1);
    std::size_t filled = 0, total = 0;
    for (auto& [name, shape] : shapes) {
      if (is_pointwise_conv(name, shape)) shape = Shape{shape[0], shape[1], 1, 1};
      const auto bytes = static_cast<std::size_t>(shape.elements()) * 2;
      if (filled > 0 && filled + bytes > request_.shard_bytes) {
        shards.emplace_back();
        filled = 0;
      }
      shards.back().push_back(name);
      filled += bytes;
      total += bytes;
    }
    Json weight_map = Json::object();
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string file = shards.size() == 1 ? stem + ".safetensors"
                                                  : fmt::format("{}-{:05}-of-{:05}.safetensors",
                                                                stem, i + 1, shards.size());
      write_shard(request_.folder / folder / file, shards[i], shapes);
      for (const auto& name : shards[i]) weight_map[name] = file;
    }
    if (shards.size() > 1) {
      write_json(request_.folder / folder / (stem + ".safetensors.index.json"),
                 {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}});
    }
    bytes_ += total;
  }

  void write_shard(const fs::path& file, const std::vector<std::string>& names,
                   const Shapes& shapes) {
    std::vector<Tensor> values;
    std::vector<StoredTensor> tensors;
    for (const auto& name : names) {
      Tensor& tensor = values.emplace_back(heap(), DType::kF16, shapes.at(name));
      fill(name, tensor.shape(), request_.seed, tensor.view().as<std::uint16_t>());
      const ConstView view = tensor;
      tensors.push_back({name,
                         DType::kF16,
                         view.shape,
                         {static_cast<const std::byte*>(view.data), view.bytes()}});
    }
    write_safetensors(file, tensors, {{"format", "pt"}});
  }

  void configs() {
    const fs::path& root = request_.folder;
    const UNetConfig& u = sizes_.unet;
    const Json four_down = {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                            "DownBlock2D"};
    const Json four_up = {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
                          "CrossAttnUpBlock2D"};
    write_json(root / "unet" / "config.json", {{"_class_name", "UNet2DConditionModel"},
                                               {"in_channels", 4},
                                               {"out_channels", 4},
                                               {"sample_size", 64},
                                               {"block_out_channels", u.block_out_channels},
                                               {"down_block_types", four_down},
                                               {"up_block_types", four_up},
                                               {"layers_per_block", 2},
                                               {"attention_head_dim", 8},
                                               {"cross_attention_dim", u.cross_attention_dim[0]},
                                               {"norm_num_groups", u.norm_num_groups},
                                               {"norm_eps", 1e-5},
                                               {"act_fn", "silu"}});
    write_json(root / "motion_adapter" / "config.json",
               {{"_class_name", "MotionAdapter"},
                {"block_out_channels", u.block_out_channels},
                {"motion_layers_per_block", 2},
                {"motion_num_attention_heads", 8},
                {"motion_norm_num_groups", u.norm_num_groups},
                {"motion_max_seq_length", u.motion->max_seq_length},
                {"use_motion_mid_block", u.motion->use_mid_block}});
    write_json(root / "vae" / "config.json",
               {{"_class_name", "AutoencoderKL"},
                {"latent_channels", 4},
                {"block_out_channels", sizes_.vae.block_out_channels},
                {"down_block_types", Json(std::vector<std::string>(4, "DownEncoderBlock2D"))},
                {"up_block_types", Json(std::vector<std::string>(4, "UpDecoderBlock2D"))},
                {"layers_per_block", 2},
                {"norm_num_groups", sizes_.vae.norm_num_groups},
                {"scaling_factor", 0.18215},
                {"act_fn", "silu"}});
    write_json(root / "text_encoder" / "config.json",
               {{"architectures", {"CLIPTextModel"}},
                {"model_type", "clip_text_model"},
                {"hidden_size", sizes_.text.hidden_size},
                {"intermediate_size", sizes_.text.intermediate_size},
                {"num_hidden_layers", 12},
                {"num_attention_heads", 12},
                {"max_position_embeddings", 77},
                {"vocab_size", sizes_.text.vocab_size},
                {"hidden_act", "quick_gelu"},
                {"layer_norm_eps", 1e-5}});
    write_json(root / "scheduler" / "scheduler_config.json", {{"_class_name", "DDIMScheduler"},
                                                              {"num_train_timesteps", 1000},
                                                              {"beta_start", 0.00085},
                                                              {"beta_end", 0.012},
                                                              {"beta_schedule", "linear"},
                                                              {"clip_sample", false},
                                                              {"set_alpha_to_one", true},
                                                              {"steps_offset", 1},
                                                              {"timestep_spacing", "linspace"},
                                                              {"prediction_type", "epsilon"}});
    write_json(root / "model_index.json", {{"_class_name", "AnimateDiffPipeline"},
                                           {"unet", {"diffusers", "UNet2DConditionModel"}},
                                           {"motion_adapter", {"diffusers", "MotionAdapter"}},
                                           {"vae", {"diffusers", "AutoencoderKL"}},
                                           {"text_encoder", {"transformers", "CLIPTextModel"}},
                                           {"tokenizer", {"transformers", "CLIPTokenizer"}},
                                           {"scheduler", {"diffusers", "DDIMScheduler"}}});
  }

  void tokenizer() {
    for (const char* name : {"vocab.json", "merges.txt"}) {
      const fs::path from = request_.tokenizer / name;
      if (!fs::is_regular_file(from)) {
        fail(ErrorCode::kNotFound, "{} is missing: name a folder with vocab.json and merges.txt",
             from.string());
      }
      fs::copy_file(from, request_.folder / "tokenizer" / name);
    }
  }

  const RandomCheckpoint& request_;
  Sizes sizes_;
  std::unique_ptr<DryBackend> backend_;
  std::vector<Renamed> checkpoint_, motion_;
  std::size_t bytes_ = 0;
};

}  // namespace

std::size_t write_random_checkpoint(const RandomCheckpoint& request) {
  return Writer(request).write();
}

}  // namespace seamwright::model

#include "model/model_parts.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "model/checkpoint_files.h"
#include "model/config_readers.h"
#include "model/files/single_file.h"
#include "model/model_folder.h"
#include "model/nets/vae.h"
#include "model/nets/vae_tiny.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// `dir`/config.json, with an error that tells what kind of folder was expected.
Config read_part_config(const fs::path& folder, const fs::path& part, const char* what) {
  const fs::path file = folder / part / "config.json";
  if (!is_file(file)) {
    fail(ErrorCode::kNotFound,
         "{} holds no {} ({} is missing): a model is a folder in the diffusers layout with unet/, "
         "vae/, text_encoder/, tokenizer/ and scheduler/",
         folder.string(), what, (part / "config.json").string());
  }
  return Config::read(file);
}

// An option may name the part's own folder, a model folder that holds it, or a hub snapshot.
fs::path part_folder(const fs::path& given, const char* sub_folder) {
  const fs::path folder = find_model_folder(given.string());
  if (is_file(folder / "config.json")) return folder;
  if (is_file(folder / sub_folder / "config.json")) return folder / sub_folder;
  fail(ErrorCode::kNotFound, "{} holds neither config.json nor {}/config.json", folder.string(),
       sub_folder);
}

PartWeights weights_in(const fs::path& folder, std::string_view stem) {
  std::shared_ptr<const CheckpointFiles> files = CheckpointFiles::open(folder, stem);
  return {files, files->paths()};
}

PartWeights weights_of(std::shared_ptr<const WeightSource> source, const fs::path& file) {
  return {std::move(source), {file}};
}

// The config beside a file that was named itself, as in a diffusers part's folder.
std::optional<fs::path> config_beside(const fs::path& file) {
  const fs::path config = file.parent_path() / "config.json";
  if (file.stem() != kDiffusersStem || !is_file(config)) return std::nullopt;
  return config;
}

void open_adapter_file(DenoiserFiles& files, const fs::path& file) {
  auto source = open_motion_file(file);
  MotionConfig config;
  if (const auto beside = config_beside(file)) {
    config = read_motion_adapter_config(Config::read(*beside));
    files.configs.push_back(*beside);
  } else {
    config = motion_config_of(*source);
  }
  files.config = with_motion(std::move(files.config), config, file.string());
  files.adapter = weights_of(std::move(source), file);
}

void open_adapter(DenoiserFiles& files, const fs::path& model,
                  const std::optional<fs::path>& option) {
  if (option && fs::is_regular_file(*option)) return open_adapter_file(files, *option);
  const fs::path beside = model / "motion_adapter";
  if (!option && !is_file(beside / "config.json")) {
    fail(ErrorCode::kInvalidArgument,
         "{} is a model for single pictures: give a motion module's file or a motion adapter's "
         "folder with --motion-adapter{}",
         model.string(), is_file(model) ? "" : ", or put the adapter into " + beside.string());
  }
  const fs::path adapter = option ? part_folder(*option, "motion_adapter") : beside;
  const fs::path config = adapter / "config.json";
  files.config = with_motion(std::move(files.config),
                             read_motion_adapter_config(Config::read(config)), config.string());
  files.adapter = weights_in(adapter, kDiffusersStem);
  files.configs.push_back(config);
}

CodecFiles open_codec_file(std::shared_ptr<const WeightSource> source, const fs::path& file) {
  CodecFiles files;
  if (const auto beside = config_beside(file)) {
    files.configs.push_back(*beside);
    const Config config = Config::read(*beside);
    if (is_tiny_vae(*source)) {
      files.config = read_tiny_vae_config(config);
    } else {
      files.config = read_vae_config(config);
    }
  } else if (is_tiny_vae(*source)) {
    files.config = TinyVaeConfig{};
  } else {
    files.config = vae_config_of(*source);
  }
  files.class_name = is_tiny_vae(*source) ? "AutoencoderTiny" : "AutoencoderKL";
  files.weights = weights_of(std::move(source), file);
  return files;
}

}  // namespace

DenoiserFiles open_denoiser(const fs::path& model, const std::optional<fs::path>& motion_adapter) {
  DenoiserFiles files;
  if (is_file(model)) {
    files.class_name = "Stable Diffusion 1.x";
    files.unet = weights_of(open_single_file(model).unet, model);
    files.config = unet_config_of(*files.unet.source);
    open_adapter(files, model, motion_adapter);
    return files;
  }
  const Config config = read_part_config(model, "unet", "U-Net");
  // The pipeline's own name in model_index.json is historical; the U-Net's class decides.
  files.class_name = config.choice("_class_name", "UNet2DConditionModel",
                                   {"UNet2DConditionModel", "UNetMotionModel"});
  files.config = read_unet_config(config);
  files.configs.push_back(model / "unet" / "config.json");
  if (files.class_name == "UNetMotionModel") {
    require(!motion_adapter,
            "{} already has motion modules (UNetMotionModel): leave out the motion "
            "adapter {}",
            model.string(), motion_adapter ? motion_adapter->string() : "");
  } else {
    open_adapter(files, model, motion_adapter);
  }
  files.unet = weights_in(model / "unet", kDiffusersStem);
  return files;
}

CodecFiles open_codec(const fs::path& model, const std::optional<fs::path>& vae) {
  if (vae && is_file(*vae)) return open_codec_file(open_vae_file(*vae), *vae);
  if (!vae && is_file(model)) {
    auto own = open_single_file(model).vae;
    if (!own) {
      fail(ErrorCode::kInvalidArgument,
           "{} holds no VAE (first_stage_model.*): give one with --vae FILE", model.string());
    }
    return open_codec_file(std::move(own), model);
  }
  CodecFiles files;
  const fs::path part = vae ? part_folder(*vae, "vae") : model / "vae";
  const Config config =
      vae ? Config::read(part / "config.json") : read_part_config(model, "vae", "VAE");
  files.class_name =
      config.choice("_class_name", "AutoencoderKL", {"AutoencoderKL", "AutoencoderTiny"});
  if (files.class_name == "AutoencoderTiny") {
    files.config = read_tiny_vae_config(config);
  } else {
    files.config = read_vae_config(config);
  }
  files.weights = weights_in(part, kDiffusersStem);
  files.configs.push_back(part / "config.json");
  return files;
}

TextFiles open_text(const fs::path& model) {
  TextFiles files;
  if (is_file(model)) {
    files.weights = weights_of(open_single_file(model).text, model);
    files.config = text_config_of(*files.weights.source);
    return files;
  }
  files.config = read_clip_text_config(read_part_config(model, "text_encoder", "text encoder"));
  files.weights = weights_in(model / "text_encoder", kTransformersStem);
  files.configs = {model / "text_encoder" / "config.json"};
  return files;
}

void add_loras(const std::vector<LoraChoice>& loras, DenoiserFiles& denoiser, TextFiles& text) {
  merge_loras(loras, {.unet = &denoiser.unet.source,
                      .motion = &denoiser.adapter.source,
                      .text = &text.weights.source});
}

namespace {

bool holds_tokenizer(const fs::path& folder) {
  return (is_file(folder / "vocab.json") && is_file(folder / "merges.txt")) ||
         is_file(folder / "tokenizer.json");
}

}  // namespace

fs::path tokenizer_folder(const fs::path& model, const std::optional<fs::path>& option,
                          const std::optional<fs::path>& fallback) {
  if (option) {
    if (holds_tokenizer(*option)) return *option;
    const fs::path inside = find_model_folder(option->string()) / "tokenizer";
    if (holds_tokenizer(inside)) return inside;
    fail(ErrorCode::kNotFound,
         "{} holds no tokenizer: it needs vocab.json and merges.txt, itself or "
         "in a folder tokenizer",
         option->string());
  }
  if (!is_file(model)) return model / "tokenizer";
  const fs::path folder = model.parent_path().empty() ? "." : model.parent_path();
  for (const fs::path& near : {folder / "tokenizer", folder}) {
    if (holds_tokenizer(near)) return near;
  }
  if (fallback && holds_tokenizer(*fallback)) return *fallback;
  fail(ErrorCode::kNotFound,
       "{} holds no tokenizer, as no single-file checkpoint does: give the folder with CLIP's "
       "vocab.json and merges.txt as --tokenizer (the tokenizer/ of any Stable Diffusion 1.5 "
       "folder), or put a folder tokenizer beside the file",
       model.string());
}

Config scheduler_config_of(const fs::path& model) {
  if (!is_file(model)) return Config::read(model / "scheduler" / "scheduler_config.json");
  return {Json{{"_class_name", "DDIMScheduler"},
               {"num_train_timesteps", 1000},
               {"beta_start", 0.00085},
               {"beta_end", 0.012},
               {"beta_schedule", "linear"},
               {"clip_sample", false},
               {"set_alpha_to_one", true},
               {"steps_offset", 1},
               {"timestep_spacing", "linspace"},
               {"prediction_type", "epsilon"}},
          model.string() + " (AnimateDiff's scheduler)"};
}

namespace {

Config suggestions(const Json& json, const std::string& where,
                   std::initializer_list<std::string_view> allowed) {
  require(json.is_object(), "{}: must be a JSON object", where);
  for (const auto& [key, value] : json.items()) {
    require(std::ranges::find(allowed, key) != allowed.end(), "{}: unknown key '{}' (allowed: {})",
            where, key, fmt::join(allowed, ", "));
  }
  return Config(json, where);
}

KnownFrameDefaults read_known_frames(const Json& json, const fs::path& file) {
  const auto config = suggestions(json, file.string() + ": known_frames",
                                  {"read", "lora", "window", "overlap", "guidance"});
  KnownFrameDefaults known;
  const auto read = config.text("read", "noised");
  require(read == "noised" || read == "clean", "{}: read is '{}', but must be 'noised' or 'clean'",
          config.file(), read);
  known.clean = read == "clean";
  known.lora = config.text("lora", "");
  require(known.lora.empty() || fs::path(known.lora).filename() == known.lora,
          "{}: lora is '{}', but must be the name of a file in this folder", config.file(),
          known.lora);
  known.window = static_cast<int>(config.integer("window", 0, {1, 1024}));
  known.overlap = static_cast<int>(config.integer("overlap", -1, {0, 1023}));
  known.guidance = config.number("guidance", -1, {0, 100});
  return known;
}

}  // namespace

ModelDefaults read_model_defaults(const fs::path& model, const UNetConfig* unet) {
  ModelDefaults defaults;
  if (unet != nullptr) {
    defaults.latent_height = unet->sample_height;
    defaults.latent_width = unet->sample_width;
  }
  const fs::path file = model / "seamwright.json";
  if (is_file(model) || !is_file(file)) return defaults;
  const auto config = suggestions(
      read_json_file(file), file.string(),
      {"steps", "guidance", "video_guidance", "known_frames", "sampler", "coherence", "overlap"});
  defaults.steps = static_cast<int>(config.integer("steps", 0, {1, 1000}));
  defaults.guidance = config.number("guidance", -1, {0, 100});
  defaults.video_guidance = config.number("video_guidance", -1, {0, 100});
  defaults.sampler = config.text("sampler", "");
  defaults.coherence = config.text("coherence", "");
  if (const Json* known = config.value("known_frames")) {
    defaults.known_frames = read_known_frames(*known, file);
  }
  defaults.overlap = static_cast<int>(config.integer("overlap", -1, {0, 4096}));
  return defaults;
}

namespace {

template <class Network>
void count(Built<Network>& built, const LoadContext& load) {
  built.resident_bytes += load.resident_bytes;
  built.stored_bytes += load.ledger.claimed_bytes();
  built.parameters += load.parameters;
}

}  // namespace

Built<UNet> build_denoiser(const DenoiserFiles& files, Backend& backend,
                           const UNetOptions& options) {
  WeightLedger unet_ledger(*files.unet.source);
  LoadContext unet{unet_ledger, backend};
  std::optional<WeightLedger> adapter_ledger;
  std::optional<LoadContext> adapter;
  if (files.adapter.source) {
    adapter_ledger.emplace(*files.adapter.source);
    adapter.emplace(LoadContext{*adapter_ledger, backend});
  }
  Built<UNet> built;
  built.network =
      std::make_unique<UNet>(files.config, unet, adapter ? &*adapter : nullptr, options);
  if (options.blocks.empty()) {  // other stages claim what this one leaves
    unet_ledger.expect_all_claimed();
    if (adapter_ledger) adapter_ledger->expect_all_claimed();
  }
  count(built, unet);
  if (adapter) count(built, *adapter);
  return built;
}

Built<FrameCodec> build_codec(const CodecFiles& files, Backend& backend) {
  WeightLedger ledger(*files.weights.source);
  LoadContext load{ledger, backend};
  Built<FrameCodec> built;
  if (const auto* tiny = std::get_if<TinyVaeConfig>(&files.config)) {
    built.network = std::make_unique<AutoencoderTiny>(load, *tiny);
  } else {
    built.network = std::make_unique<AutoencoderKL>(load, std::get<VaeConfig>(files.config));
  }
  ledger.expect_all_claimed();
  count(built, load);
  return built;
}

Built<ClipText> build_text(const TextFiles& files, Backend& backend) {
  WeightLedger ledger(*files.weights.source);
  LoadContext load{ledger, backend};
  Built<ClipText> built;
  built.network = std::make_unique<ClipText>(load, files.config);
  ledger.expect_all_claimed();
  count(built, load);
  return built;
}

void check_parts_fit(const UNetConfig& unet, const ClipTextConfig* text, const FrameCodec* codec) {
  if (text != nullptr) {
    for (const std::int64_t dim : unet.cross_attention_dim) {
      require(
          dim == text->hidden_size,
          "the U-Net reads text of width {} (cross_attention_dim), but the text encoder gives {} "
          "(hidden_size): these parts are from different models",
          dim, text->hidden_size);
    }
  }
  require(unet.in_channels == unet.out_channels,
          "a U-Net with {} input and {} output channels needs image conditioning, which is not "
          "supported",
          unet.in_channels, unet.out_channels);
  if (codec != nullptr) {
    require(codec->latent_channels() == unet.in_channels,
            "the U-Net works on {} latent channels, but the VAE has {}: these parts are from "
            "different models",
            unet.in_channels, codec->latent_channels());
  }
}

}  // namespace seamwright::model

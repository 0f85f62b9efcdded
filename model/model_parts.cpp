#include "model/model_parts.h"

#include "model/config_json.h"
#include "model/config_readers.h"
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

void open_adapter(DenoiserFiles& files, const fs::path& folder,
                  const std::optional<fs::path>& option) {
  const fs::path beside = folder / "motion_adapter";
  if (!option && !is_file(beside / "config.json")) {
    fail(ErrorCode::kInvalidArgument,
         "{} is a model for single pictures (UNet2DConditionModel): give the motion adapter's folder "
         "with --motion-adapter, or put it into {}",
         folder.string(), beside.string());
  }
  const fs::path adapter = option ? part_folder(*option, "motion_adapter") : beside;
  const fs::path config = adapter / "config.json";
  files.config = with_motion(std::move(files.config),
                             read_motion_adapter_config(Config::read(config)), config.string());
  files.adapter = CheckpointFiles::open(adapter, kDiffusersStem);
  files.configs.push_back(config);
}

}  // namespace

DenoiserFiles open_denoiser(const fs::path& folder, const std::optional<fs::path>& motion_adapter) {
  const Config config = read_part_config(folder, "unet", "U-Net");
  DenoiserFiles files;
  // The pipeline's own name in model_index.json is historical; the U-Net's class decides.
  files.class_name = config.choice("_class_name", "UNet2DConditionModel",
                                   {"UNet2DConditionModel", "UNetMotionModel"});
  files.config = read_unet_config(config);
  files.configs.push_back(folder / "unet" / "config.json");
  if (files.class_name == "UNetMotionModel") {
    require(!motion_adapter, "{} already has motion modules (UNetMotionModel): leave out the motion "
            "adapter {}", folder.string(), motion_adapter ? motion_adapter->string() : "");
  } else {
    open_adapter(files, folder, motion_adapter);
  }
  files.unet = CheckpointFiles::open(folder / "unet", kDiffusersStem);
  return files;
}

CodecFiles open_codec(const fs::path& folder, const std::optional<fs::path>& vae) {
  CodecFiles files;
  const fs::path part = vae ? part_folder(*vae, "vae") : folder / "vae";
  const Config config =
      vae ? Config::read(part / "config.json") : read_part_config(folder, "vae", "VAE");
  files.class_name =
      config.choice("_class_name", "AutoencoderKL", {"AutoencoderKL", "AutoencoderTiny"});
  if (files.class_name == "AutoencoderTiny") {
    files.config = read_tiny_vae_config(config);
  } else {
    files.config = read_vae_config(config);
  }
  files.weights = CheckpointFiles::open(part, kDiffusersStem);
  files.configs.push_back(part / "config.json");
  return files;
}

TextFiles open_text(const fs::path& folder) {
  TextFiles files;
  files.config = read_clip_text_config(read_part_config(folder, "text_encoder", "text encoder"));
  files.weights = CheckpointFiles::open(folder / "text_encoder", kTransformersStem);
  files.configs = {folder / "text_encoder" / "config.json"};
  return files;
}

ModelDefaults read_model_defaults(const fs::path& folder, const UNetConfig* unet) {
  ModelDefaults defaults;
  if (unet != nullptr) {
    defaults.latent_height = unet->sample_height;
    defaults.latent_width = unet->sample_width;
  }
  const fs::path file = folder / "seamwright.json";
  if (!is_file(file)) return defaults;
  const Json json = read_json_file(file);
  require(json.is_object(), "{}: must be a JSON object", file.string());
  for (const auto& [key, value] : json.items()) {
    const bool known = key == "steps" || key == "guidance" || key == "sampler" ||
                       key == "coherence" || key == "overlap";
    require(known, "{}: unknown key '{}' (allowed: steps, guidance, sampler, coherence, overlap)",
            file.string(), key);
  }
  const Config config(json, file.string());
  defaults.steps = static_cast<int>(config.integer("steps", 0, {1, 1000}));
  defaults.guidance = config.number("guidance", -1, {0, 100});
  defaults.sampler = config.text("sampler", "");
  defaults.coherence = config.text("coherence", "");
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
  WeightLedger unet_ledger(*files.unet);
  LoadContext unet{unet_ledger, backend};
  std::optional<WeightLedger> adapter_ledger;
  std::optional<LoadContext> adapter;
  if (files.adapter) {
    adapter_ledger.emplace(*files.adapter);
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
  WeightLedger ledger(*files.weights);
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
  WeightLedger ledger(*files.weights);
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
      require(dim == text->hidden_size,
              "the U-Net reads text of width {} (cross_attention_dim), but the text encoder gives {} "
              "(hidden_size): these parts are from different models", dim, text->hidden_size);
    }
  }
  require(unet.in_channels == unet.out_channels,
          "a U-Net with {} input and {} output channels needs image conditioning, which is not "
          "supported", unet.in_channels, unet.out_channels);
  if (codec != nullptr) {
    require(codec->latent_channels() == unet.in_channels,
            "the U-Net works on {} latent channels, but the VAE has {}: these parts are from "
            "different models", unet.in_channels, codec->latent_channels());
  }
}

}  // namespace seamwright::model

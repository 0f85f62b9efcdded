// The parts of a model folder, opened but not yet loaded: which class each is, its config and its
// weight files. What loading and inspection share.
// Threads: immutable after opening.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/config_json.h"
#include "model/configs.h"
#include "model/files/lora_merge.h"
#include "model/layers.h"
#include "model/nets/clip_text.h"
#include "model/nets/unet.h"
#include "model/video_model.h"

namespace seamwright::model {

// The tensors of one part under diffusers' names, and the files they come from. Parts of a
// single-file checkpoint share their file.
struct PartWeights {
  std::shared_ptr<const WeightSource> source;  // null where there is no such part
  std::vector<std::filesystem::path> paths;
};

struct DenoiserFiles {
  std::string class_name;  // of the U-Net
  UNetConfig config;       // merged with the adapter's
  PartWeights unet;
  PartWeights adapter;  // none for UNetMotionModel
  std::vector<std::filesystem::path> configs;
};

struct CodecFiles {
  std::string class_name;
  std::variant<VaeConfig, TinyVaeConfig> config;
  PartWeights weights;
  std::vector<std::filesystem::path> configs;
};

struct TextFiles {
  ClipTextConfig config;
  PartWeights weights;
  std::vector<std::filesystem::path> configs;
};

// `model` is the model's folder, as find_model_folder gives it, or a single-file checkpoint; the
// options name folders or files.
DenoiserFiles open_denoiser(const std::filesystem::path& model,
                            const std::optional<std::filesystem::path>& motion_adapter);
CodecFiles open_codec(const std::filesystem::path& model,
                      const std::optional<std::filesystem::path>& vae);
TextFiles open_text(const std::filesystem::path& model);
ModelDefaults read_model_defaults(const std::filesystem::path& model, const UNetConfig* unet);
// Where vocab.json and merges.txt are: what `option` names, else the model's own, else beside a
// single-file checkpoint, else `fallback`.
std::filesystem::path tokenizer_folder(const std::filesystem::path& model,
                                       const std::optional<std::filesystem::path>& option,
                                       const std::optional<std::filesystem::path>& fallback);
// scheduler_config.json; for single-file checkpoints AnimateDiff's own: DDIM on linear betas.
Config scheduler_config_of(const std::filesystem::path& model);

// Adds the products of LoRA files to what will be loaded; strict about every key.
void add_loras(const std::vector<LoraChoice>& loras, DenoiserFiles& denoiser, TextFiles& text);

// A network with what loading it took.
template <class Network>
struct Built {
  std::unique_ptr<Network> network;
  std::size_t resident_bytes = 0;
  std::size_t stored_bytes = 0;
  std::int64_t parameters = 0;
};

// Strict: every tensor of the files is claimed, unless only some blocks are loaded.
Built<UNet> build_denoiser(const DenoiserFiles& files, Backend& backend,
                           const UNetOptions& options = {});
Built<FrameCodec> build_codec(const CodecFiles& files, Backend& backend);
Built<ClipText> build_text(const TextFiles& files, Backend& backend);

// Throws kInvalidArgument where two parts were not made for each other.
void check_parts_fit(const UNetConfig& unet, const ClipTextConfig* text, const FrameCodec* codec);

}  // namespace seamwright::model

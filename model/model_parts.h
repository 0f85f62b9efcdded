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

#include "model/checkpoint_files.h"
#include "model/configs.h"
#include "model/layers.h"
#include "model/nets/clip_text.h"
#include "model/nets/unet.h"
#include "model/video_model.h"

namespace seamwright::model {

struct DenoiserFiles {
  std::string class_name;  // of the U-Net
  UNetConfig config;       // merged with the adapter's
  std::unique_ptr<CheckpointFiles> unet;
  std::unique_ptr<CheckpointFiles> adapter;  // null for UNetMotionModel
  std::vector<std::filesystem::path> configs;
};

struct CodecFiles {
  std::string class_name;
  std::variant<VaeConfig, TinyVaeConfig> config;
  std::unique_ptr<CheckpointFiles> weights;
  std::vector<std::filesystem::path> configs;
};

struct TextFiles {
  ClipTextConfig config;
  std::unique_ptr<CheckpointFiles> weights;
  std::vector<std::filesystem::path> configs;
};

// `folder` is the model's folder, as find_model_folder gives it.
DenoiserFiles open_denoiser(const std::filesystem::path& folder,
                            const std::optional<std::filesystem::path>& motion_adapter);
CodecFiles open_codec(const std::filesystem::path& folder,
                      const std::optional<std::filesystem::path>& vae);
TextFiles open_text(const std::filesystem::path& folder);
ModelDefaults read_model_defaults(const std::filesystem::path& folder, const UNetConfig* unet);

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

// A whole model loaded from a diffusers folder: text encoder, denoiser, VAE, tokenizer, sampler
// settings. Loading validates everything and names every tensor it cannot place.
// Threads: const after loading.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/config_json.h"
#include "model/denoiser.h"
#include "model/files/lora_merge.h"
#include "model/ops.h"

namespace seamwright::model {

// Pixels <-> latents, frame by frame. [N, H, W, 3] in [-1, 1] <-> [N, h, w, C] as the sampler
// sees them (scaling factor already applied).
class FrameCodec {
 public:
  virtual ~FrameCodec() = default;
  virtual std::int64_t latent_channels() const = 0;
  virtual std::int64_t scale() const = 0;  // pixels per latent, 8 for Stable Diffusion
  // About how many pixels to decode in one call: enough to keep every core busy, little enough that
  // memory does not depend on the picture's size. A heavy decoder gains nothing from more than a
  // picture of 256x256, and the fewer go together, the more evenly ranks share them.
  virtual std::int64_t pixels_at_once() const { return std::int64_t{4} * 256 * 256; }
  virtual Tensor decode(Exec& exec, ConstView latents) const = 0;
  virtual Tensor encode(Exec& exec, ConstView pixels) const = 0;  // mean of the posterior
};

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  // One prompt -> host f32 [1, tokens, dim]. Too long prompts are cut; the cut text is reported.
  struct Encoded {
    Tensor embeddings;
    std::string dropped;  // empty when nothing was cut
  };
  virtual Encoded encode(Exec& exec, const std::string& prompt) const = 0;
};

enum class Part { kTextEncoder, kDenoiser, kCodec };

struct LoadOptions {
  std::filesystem::path model;  // folder (or snapshot of a hub cache), or single-file checkpoint
  std::optional<std::filesystem::path> motion_adapter{};  // folder or file; for models without
  std::optional<std::filesystem::path> vae{};             // folder or file
  std::optional<std::filesystem::path> tokenizer{};
  std::optional<std::filesystem::path> tokenizer_fallback{};  // for files without one beside them
  std::vector<LoraChoice> loras{};
  bool per_frame_motion_norm = false;  // original repository's norm (model-facts 2.10)
  // The job has known frames: the LoRA that the model's folder names for them is merged first.
  bool known_frames = false;
  std::vector<Part> parts = {Part::kTextEncoder, Part::kDenoiser, Part::kCodec};
  // A stage loads only its own weights: one run of blocks, two where the U is folded. Empty: all.
  std::vector<BlockRange> blocks{};
};

// What a model suggests for jobs with known frames: an object "known_frames" in seamwright.json
// (keys: read, lora, window, overlap, guidance).
struct KnownFrameDefaults {
  // "read": "clean": the network reads given frames as they are instead of noised like the others.
  // For weights that were trained so; any others take them for noise that is left.
  bool clean = false;
  std::string lora;  // a file in the model's folder, merged for these jobs alone; "" = none
  int window = 0, overlap = -1;
  double guidance = -1;
};

// What a model suggests where a request leaves a choice open. Sizes come from unet/config.json;
// the rest from an optional seamwright.json in the model folder (keys: steps, guidance,
// video_guidance, known_frames, sampler, coherence, overlap), which diffusers ignores. 0, negative
// or "" means no suggestion.
struct ModelDefaults {
  std::int64_t latent_height = 64, latent_width = 64;
  int steps = 0;
  double guidance = -1;
  // Video to video. Where the source shows through the noise, a model that needs no guidance from
  // pure noise may need some to hear its prompt against the picture. Negative: as `guidance`.
  double video_guidance = -1;
  std::string sampler, coherence;
  KnownFrameDefaults known_frames{};
  int overlap = -1;
};

class VideoModel {
 public:
  static std::unique_ptr<VideoModel> load(const LoadOptions& options, Backend& backend);
  virtual ~VideoModel() = default;

  virtual const Denoiser& denoiser() const = 0;  // throws kInternal when its part was not loaded
  virtual const FrameCodec& codec() const = 0;
  virtual const TextEncoder& text() const = 0;
  virtual const ModelDefaults& defaults() const = 0;
  virtual Config scheduler_config() const = 0;  // scheduler_config.json, or its stand-in
  // SHA-256 over the bytes of all weight files and configs and the scales of LoRAs, for metadata;
  // computed on first use.
  virtual std::string hash() const = 0;
  virtual std::size_t resident_bytes() const = 0;
};

}  // namespace seamwright::model

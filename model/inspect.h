// What a model folder holds and what running it would cost, without computing anything: parts,
// blocks, parameters, memory, work, and what would be refused.
// Threads: pure but for reading files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/dry/dry_backend.h"
#include "model/nets/unet.h"
#include "model/video_model.h"

namespace seamwright::model {

// One block of the denoiser at a given size.
struct BlockCost {
  std::string name;
  std::int64_t parameters = 0;
  std::size_t weight_bytes = 0;
  double flops = 0;
  double traffic_bytes = 0;        // every op's inputs, weights and output, each touched once
  std::size_t crossing_bytes = 0;  // what a cut before this block would send
};

struct DenoiserCost {
  std::int64_t frames = 0, height = 0, width = 0;  // latents
  std::vector<BlockCost> blocks;
  double flops = 0, traffic_bytes = 0;
  std::size_t peak_activation_bytes = 0;  // skips included, backend scratch not
};

// Runs the U-Net, built on `backend`, for its counts.
DenoiserCost count_denoiser(const UNet& unet, DryBackend& backend, std::int64_t frames,
                            std::int64_t height, std::int64_t width, std::int64_t context_tokens,
                            std::int64_t context_width);

struct PartReport {
  std::string part;          // "unet", "vae", "text_encoder"
  std::string class_name{};  // empty where even the config could not be read
  std::size_t files = 0;
  std::int64_t parameters = 0;
  std::size_t stored_bytes = 0, resident_bytes = 0;
  std::string refused{};  // why loading would fail; empty when it would not
};

struct InspectOptions {
  LoadOptions load{};
  DType activations = DType::kF32;
  std::int64_t frames = 16;
  std::int64_t latent_height = 0, latent_width = 0;  // 0: the model's own size
};

struct ModelReport {
  std::filesystem::path folder;
  std::vector<PartReport> parts;
  std::int64_t max_window = 0;
  DenoiserCost denoiser;              // empty where the U-Net was refused
  std::vector<std::string> refusals;  // of the model as a whole: parts that do not fit, tokenizer
  bool loads() const;
};

// Throws only where there is no folder to look into.
ModelReport inspect_model(const InspectOptions& options);

// For people, a table a line per part and block.
std::string to_text(const ModelReport& report);

}  // namespace seamwright::model

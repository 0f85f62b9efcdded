// A LoRA file read into one list of low-rank products, whatever naming it was written in: kohya's
// (lora_unet_..., lora_te_...), diffusers' older and newer ones, PEFT's, and AnimateDiff's motion
// LoRA in original or diffusers names.
// Threads: pure functions; views live as long as the source.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/weights.h"

namespace seamwright::model {

enum class LoraPart : std::uint8_t { kUNet, kText };  // the U-Net's includes motion modules

// One layer's product: weight += scale * alpha / rank * up x down.
struct LoraModule {
  LoraPart part = LoraPart::kUNet;
  std::string path;     // the layer, "down_blocks.0...to_q"; kohya joins with "_" and is ambiguous
  bool joined = false;  // `path` is joined with "_": matched against known layers
  ConstView down,
      up;  // [rank, in] and [out, rank], or convolutions [rank, in, k, k], [out, rank, 1, 1]
  double alpha = 0;  // the rank where the file says nothing
  double scale = 1;  // alpha / rank, or alpha / sqrt(rank) where the metadata says so
  std::string key;   // as the file names it, for errors
};

struct LoraFile {
  std::string naming;               // "kohya", "diffusers", "PEFT" or "original"
  std::vector<LoraModule> modules;  // in order of their keys
};

using FileMetadata = std::map<std::string, std::string>;

// Whether any tensor is part of a LoRA (or of one of its relatives that are refused).
bool is_lora(const WeightSource& source);
// Throws kUnsupported for relatives of LoRA (LoHa, LoKr, DoRA, OFT ...), kCorrupt for keys that are
// part of no LoRA or lack their other half; both name the keys. `metadata` is the file's.
LoraFile read_lora(const WeightSource& source, const FileMetadata& metadata = {});

}  // namespace seamwright::model

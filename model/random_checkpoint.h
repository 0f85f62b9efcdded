// Writes a model of full public size with random weights: Stable Diffusion 1.5 with an AnimateDiff
// motion module, in the diffusers layout or under the original names, for loading and speed tests
// without any download.
// Threads: one call, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace seamwright::model {

enum class MotionVersion : std::uint8_t { kV1, kV2, kV3 };

// The files of the original layout, in the folder.
inline constexpr const char* kRandomCheckpointFile = "sd15.safetensors";
inline constexpr const char* kRandomMotionFile = "motion.safetensors";

struct RandomCheckpoint {
  std::filesystem::path folder;     // made; must not exist or be empty
  std::filesystem::path tokenizer;  // folder with vocab.json and merges.txt to copy
  std::uint64_t seed = 0;
  std::size_t shard_bytes = std::size_t{1} << 30;  // parts above this are split, with an index
  // Divides every width of the networks, for tests; 1 is the public size.
  int shrink = 1;
  MotionVersion motion = MotionVersion::kV3;
  // Original names: one checkpoint file, one motion module, and a tokenizer folder. The weights are
  // those of the diffusers layout with the same seed. Needs as much memory as the checkpoint.
  bool original_names = false;
};

// Weights are F16, scaled so that activations stay of order one. Returns the bytes written.
std::size_t write_random_checkpoint(const RandomCheckpoint& request);

}  // namespace seamwright::model

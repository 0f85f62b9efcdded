// Writes a model folder of full public size with random weights: Stable Diffusion 1.5 with the v3
// motion adapter in the diffusers layout, for loading and speed tests without any download.
// Threads: one call, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace seamwright::model {

struct RandomCheckpoint {
  std::filesystem::path folder;     // made; must not exist or be empty
  std::filesystem::path tokenizer;  // folder with vocab.json and merges.txt to copy
  std::uint64_t seed = 0;
  std::size_t shard_bytes = std::size_t{1} << 30;  // parts above this are split, with an index
  // Divides every width of the networks, for tests; 1 is the public size.
  int shrink = 1;
};

// Weights are F16, scaled so that activations stay of order one. Returns the bytes written.
std::size_t write_random_checkpoint(const RandomCheckpoint& request);

}  // namespace seamwright::model

// Every random number of a job: counter-based draws, or tensors given to check against others.
// Threads: const after construction.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/rng.h"
#include "scheduling/freenoise.h"

namespace seamwright::worker {

struct NoiseOptions {
  std::uint64_t seed = 0;
  std::int64_t frames = 1;
  std::int64_t channels = 4, height = 8, width = 8;  // of one latent frame
  bool freenoise = false;  // every draw of a frame is its source's (scheduling/freenoise.h)
  int window = 16;         // FreeNoise: length of the independent start
  int stride = 4;          // FreeNoise: frames shuffled together
  // Files in safetensors: key "latents" [F, C, h, w]; keys "noise.K" [F, C, h, w] by step.
  std::optional<std::filesystem::path> latents_in, noise_in;
};

class NoiseSource {
 public:
  // Reads and checks the files; throws kInvalidArgument or kCorrupt naming file and tensor.
  explicit NoiseSource(const NoiseOptions& options);

  // One frame each, [C, h, w], unit variance. `sampler` is what a stochastic sampler adds in a
  // step, `resample` what a frame that is brought back to a level gets in a round.
  void initial(std::int64_t frame, std::span<float> out) const;
  void sampler(std::int64_t frame, int step, std::span<float> out) const;
  void resample(std::int64_t frame, int level, int round, std::span<float> out) const;

 private:
  void draw(NoisePurpose purpose, std::int64_t frame, std::uint32_t evaluation,
            std::span<float> out) const;

  NoiseOptions options_;
  std::shared_ptr<scheduling::FreenoiseSources> sources_;  // null: every frame is its own
  std::vector<float> latents_;
  std::map<int, std::vector<float>> injected_;
};

}  // namespace seamwright::worker

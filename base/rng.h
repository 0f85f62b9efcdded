// Counter-based random numbers: every value is a pure function of its key, so no rank ever needs
// another rank's random state and any frame's noise can be drawn anywhere, in any order.
// Threads: pure functions; safe anywhere.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace seamwright {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

// What a noise draw is for. Numbers are part of the reproducibility contract: never reuse one.
enum class NoisePurpose : std::uint32_t {
  kInitial = 1,   // the initial latent of a frame
  kSampler = 2,   // injected by a stochastic sampler after a step
  kResample = 3,  // re-noising between resampling rounds; of known frames in local mode
  kKnown = 4,     // taken, and not drawn
  kShuffle = 5,   // FreeNoise's order of the base noise
  kTest = 255,
};

struct NoiseKey {
  std::uint64_t seed = 0;
  NoisePurpose purpose = NoisePurpose::kInitial;
  std::int64_t frame = 0;        // absolute frame index, >= 0
  std::uint32_t evaluation = 0;  // step (and round) the draw belongs to; 0 for initial noise
};

// Fills `out` with independent standard normal values (Box-Muller in double over Philox).
// A longer `out` extends a shorter one: values [0, n) do not depend on out.size().
void fill_normal(const NoiseKey& key, std::span<float> out);

// The i-th 32-bit word of the key's stream; for shuffles and tests.
std::uint32_t random_word(const NoiseKey& key, std::uint32_t i);

}  // namespace seamwright

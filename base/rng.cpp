#include "base/rng.h"

#include <cmath>
#include <cstddef>
#include <numbers>

namespace seamwright {
namespace {

constexpr std::uint32_t kMultiplierA = 0xD2511F53U;
constexpr std::uint32_t kMultiplierB = 0xCD9E8D57U;
constexpr std::uint32_t kWeylA = 0x9E3779B9U;
constexpr std::uint32_t kWeylB = 0xBB67AE85U;

std::array<std::uint32_t, 4> block(const NoiseKey& key, std::uint32_t index) {
  // 64 bits of seed are the key; frame, purpose, evaluation and index share the counter. The frame
  // keeps 40 bits: with 24 fps that is over a thousand years of video.
  const auto frame = static_cast<std::uint64_t>(key.frame);
  return philox4x32(
      {index, static_cast<std::uint32_t>(frame),
       (static_cast<std::uint32_t>(frame >> 32) << 8) | static_cast<std::uint32_t>(key.purpose),
       key.evaluation},
      {static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)});
}

// (0, 1]: never zero, so that the logarithm is finite.
double open_unit(std::uint32_t word) { return (static_cast<double>(word) + 1.0) * 0x1p-32; }

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = static_cast<std::uint64_t>(kMultiplierA) * counter[0];
    const std::uint64_t b = static_cast<std::uint64_t>(kMultiplierB) * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += kWeylA;
    key[1] += kWeylB;
  }
  return counter;
}

void fill_normal(const NoiseKey& key, std::span<float> out) {
  for (std::size_t base = 0; base < out.size(); base += 4) {
    const auto words = block(key, static_cast<std::uint32_t>(base / 4));
    for (std::size_t pair = 0; pair < 2; ++pair) {
      const double radius = std::sqrt(-2.0 * std::log(open_unit(words[2 * pair])));
      const double angle = 2.0 * std::numbers::pi * open_unit(words[2 * pair + 1]);
      const std::size_t at = base + 2 * pair;
      if (at < out.size()) out[at] = static_cast<float>(radius * std::cos(angle));
      if (at + 1 < out.size()) out[at + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
}

std::uint32_t random_word(const NoiseKey& key, std::uint32_t i) { return block(key, i / 4)[i % 4]; }

}  // namespace seamwright

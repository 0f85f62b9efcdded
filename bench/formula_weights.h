// Weights by formula for benchmarks: the same in any language, made when asked for.
// Threads: one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/weights.h"

namespace seamwright::bench {

// Element i of the tensor named N: x = i * 0x9E3779B1 + crc32(N), mixed by x ^= x >> 15,
// x *= 0x85EBCA77, x ^= x >> 13 in 32 bits, gives v = x / 2^31 - 1 in [-1, 1). Biases are 0.02 v,
// other vectors 1 + 0.1 v, everything else v * sqrt(3 / elements per output).
class FormulaWeights final : public model::WeightSource {
 public:
  std::optional<model::ConstView> find(std::string_view) const override { return std::nullopt; }
  // Valid until the eighth next call: a layer never holds more than its own two tensors.
  std::optional<model::ConstView> find_as(std::string_view name,
                                          const model::Shape& expected) const override;
  std::vector<std::string> names() const override { return {}; }
  std::string description() const override { return "weights by formula"; }

 private:
  mutable std::array<std::vector<float>, 8> ring_;
  mutable std::size_t next_ = 0;
};

// The formula's v for element i of a tensor with this hash.
inline float formula_value(std::uint32_t hash, std::uint32_t i) {
  std::uint32_t x = i * 0x9E3779B1U + hash;
  x ^= x >> 15;
  x *= 0x85EBCA77U;
  x ^= x >> 13;
  return static_cast<float>(x) * 0x1p-31F - 1.0F;
}
std::uint32_t formula_hash(std::string_view name);

}  // namespace seamwright::bench

// Element types on the host: conversions between stored halves and working floats.
// Threads: pure functions; safe anywhere.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "model/tensor.h"

namespace seamwright::model {

inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

// Rounds to nearest even; NaN stays NaN.
inline std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

float half_to_float(std::uint16_t bits);
// Rounds to nearest even; overflows to infinity.
std::uint16_t float_to_half(float value);

// A decoder's value in [-1, 1] to 8 bits, as the reference pipelines do it; see
// Backend::pixels_to_rgb8.
inline std::uint8_t to_rgb8(float value) {
  const float unit = value / 2.0F + 0.5F;
  const float clamped =
      unit > 0.0F ? (unit < 1.0F ? unit : 1.0F) : 0.0F;  // NaN fails the comparison
  return static_cast<std::uint8_t>(std::nearbyint(clamped * 255.0F));
}

// Converts between F64, F32, F16 and BF16; both views are on the host and hold equally many
// elements. Other types throw kUnsupported.
void convert(ConstView from, View to);

// A copy on the process heap in another floating type.
Tensor converted(ConstView from, DType to);

}  // namespace seamwright::model

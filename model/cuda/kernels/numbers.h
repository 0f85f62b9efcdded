// Element types as kernels see them, and their conversions, the same on device and host.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <cstring>

#include "model/cuda/kernels/gpu.h"

namespace seamwright::model::cuda {

struct Bf16 {
  std::uint16_t bits;
};
struct Half {
  std::uint16_t bits;
};

SW_DEVICE float to_float(float x) { return x; }
SW_DEVICE float to_float(Bf16 x) { return bits_to_float(static_cast<std::uint32_t>(x.bits) << 16); }
SW_DEVICE float to_float(Half x) { return half_bits_to_float(x.bits); }

template <class T>
SW_DEVICE T from_float(float x);
template <>
SW_DEVICE float from_float<float>(float x) {
  return x;
}
template <>
SW_DEVICE Bf16 from_float<Bf16>(float x) {
  return {float_to_bf16_bits(x)};
}
template <>
SW_DEVICE Half from_float<Half>(float x) {
  return {float_to_half_bits(x)};
}

// N neighbouring elements, moved at once.
template <class T, int N>
struct alignas(N * sizeof(T) >= 16 ? 16 : N * sizeof(T)) Pack {
  T at[N];
};

// Two 16-bit elements in one register, the first in the low half.
template <class T>
SW_DEVICE std::uint32_t pack_two(float first, float second) {
  return static_cast<std::uint32_t>(from_float<T>(first).bits) |
         static_cast<std::uint32_t>(from_float<T>(second).bits) << 16;
}

// Four neighbouring 16-bit elements in two registers: what a lane of multiply_fragments() takes
// where PTX says two and two. A sum over channels may run in any order that both operands agree on.
template <class T>
SW_DEVICE void load_four(const T* at, std::uint32_t& low, std::uint32_t& high) {
  const auto pair = *reinterpret_cast<const Pack<std::uint32_t, 2>*>(at);
  low = pair.at[0];
  high = pair.at[1];
}

// Number codes of Activation, for kernels.
SW_DEVICE float apply_activation(int code, float x) {
  switch (code) {
    case 1:  // kSilu
      return x * sigmoid_of(x);
    case 2:  // kRelu
      return x > 0.0F ? x : 0.0F;
    case 3:  // kGelu
      return 0.5F * x * (1.0F + erf_of(x * 0.70710678118654752F));
    case 4:  // kQuickGelu
      return x * sigmoid_of(1.702F * x);
    default:
      return x;
  }
}

}  // namespace seamwright::model::cuda

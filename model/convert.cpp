#include "model/convert.h"

#include <cstring>

namespace seamwright::model {

float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0x1fU) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // subnormal or zero: exact
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
}

std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);
  if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);
  if (magnitude < 0x38800000U) {
    // Subnormal in half: adding 0.5 leaves the rounded multiple of 2^-24 in the low mantissa bits.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) & 0x7fffU));
  }
  const std::uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((rounded - (112U << 23)) >> 13));
}

namespace {

template <class From, class To, class F>
void map(ConstView from, View to, F f) {
  const From* in = from.as<From>();
  To* out = to.as<To>();
  for (std::int64_t i = 0, n = from.elements(); i < n; ++i) out[i] = static_cast<To>(f(in[i]));
}

template <class From, class F>
void map_to(ConstView from, View to, F load) {
  switch (to.dtype) {
    case DType::kF64:
      return map<From, double>(from, to, load);
    case DType::kF32:
      return map<From, float>(from, to, load);
    case DType::kF16:
      return map<From, std::uint16_t>(
          from, to, [&](From x) { return float_to_half(static_cast<float>(load(x))); });
    case DType::kBF16:
      return map<From, std::uint16_t>(
          from, to, [&](From x) { return float_to_bf16(static_cast<float>(load(x))); });
    default:
      fail(ErrorCode::kUnsupported, "cannot convert to element type {}", to_string(to.dtype));
  }
}

}  // namespace

void convert(ConstView from, View to) {
  ensure(from.elements() == to.elements(), "cannot convert {} elements into {}", from.elements(),
         to.elements());
  if (from.dtype == to.dtype) {
    if (from.bytes() > 0) std::memcpy(to.data, from.data, from.bytes());
    return;
  }
  switch (from.dtype) {
    case DType::kF64:
      return map_to<double>(from, to, [](double x) { return x; });
    case DType::kF32:
      return map_to<float>(from, to, [](float x) { return x; });
    case DType::kF16:
      return map_to<std::uint16_t>(from, to, half_to_float);
    case DType::kBF16:
      return map_to<std::uint16_t>(from, to, bf16_to_float);
    default:
      fail(ErrorCode::kUnsupported,
           "weights of element type {} are not supported (allowed: F64, F32, F16, BF16)",
           to_string(from.dtype));
  }
}

Tensor converted(ConstView from, DType to) {
  Tensor result(heap(), to, from.shape);
  convert(from, result);
  return result;
}

}  // namespace seamwright::model

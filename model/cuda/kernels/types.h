// Folder-private: what kernels and the code that starts them share; .cu files can read this much
// and no more, since their compiler cannot read the project's
// errors with checked formats.
// Threads: values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace seamwright::model::cuda {

using Stream = void*;

enum class Element : std::uint8_t { kF32, kBf16, kHalf };
inline std::int64_t bytes_of(Element type) { return type == Element::kF32 ? 4 : 2; }

// How many runs of `b` hold `a`.
inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Number codes of model::Activation.
using ActivationCode = int;

struct ImageSize {
  std::int64_t h = 0, w = 0;
};

// The matrix whose product with a [out, k * k * in] weight is a convolution.
struct PatchShape {
  std::int64_t h, w, in, oh, ow;
  std::int64_t kernel, stride, pad_top, pad_left;
};

}  // namespace seamwright::model::cuda

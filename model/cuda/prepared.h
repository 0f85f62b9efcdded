// Weights as the CUDA backend keeps them: laid out once at load, in device memory.
// Threads: constant after construction; shareable.
#pragma once

#include "model/backend.h"

namespace seamwright::model::cuda {

class CudaLinear final : public PreparedLinear {
 public:
  Tensor weight;  // [out, in]; GEGLU: [2 * out, in]
  Tensor bias;    // [out] of the activation type; empty: none
  bool gated = false;
};

// Channels are padded with zeros where the tensor cores want a multiple of eight.
class CudaConv final : public PreparedConv {
 public:
  Tensor weight;  // [padded out, k, k, padded in]
  Tensor bias;    // [out], of the result's type; empty: none
  std::int64_t padded_in = 0, padded_out = 0;
  bool pointwise = false;  // a 1x1 convolution is a linear layer, channels last
};

class CudaNorm final : public PreparedNorm {
 public:
  Tensor scale, shift;  // fp32
};

template <class Concrete, class Base>
const Concrete& as(const Base& prepared) {
  const auto* concrete = dynamic_cast<const Concrete*>(&prepared);
  ensure(concrete != nullptr, "these weights were prepared by another backend or for another op");
  return *concrete;
}

}  // namespace seamwright::model::cuda

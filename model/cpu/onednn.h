// oneDNN behind the backend: primitives made once per shape, each run on one thread at a time.
// Every primitive is created for a single thread, so its blocking never depends on the number of
// threads; the backend spreads chunks over threads itself.
// Threads: find_* from one thread; run_* from any thread, one worker index per thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "model/backend.h"

namespace seamwright::model::cpu {

// What follows the sum of products, in the order of Epilogue; the bias holds per_channel.
struct PostOps {
  bool bias = false;
  Activation activation = Activation::kNone;
  bool residual = false;
  Activation last = Activation::kNone;
  auto key() const { return std::tuple(bias, activation, residual, last); }
};

struct GemmShape {
  std::int64_t rows = 0, in = 0, out = 0;
  DType type = DType::kF32;    // of x and of the weights
  DType result = DType::kF32;  // of y and of the residual
  PostOps post;
  auto key() const { return std::tuple(rows, in, out, type, result, post.key()); }
};

struct ConvShape {
  std::int64_t images = 0, height = 0, width = 0;  // of the input of one call
  ConvSpec spec;                                   // with the padding of this call
  DType type = DType::kF32;
  PostOps post;
  auto key() const {
    return std::tuple(images, height, width, spec.in, spec.out, spec.kernel, spec.stride,
                      spec.pad_top, spec.pad_left, spec.pad_bottom, spec.pad_right, type,
                      post.key());
  }
};

// A primitive with the memory forms it wants.
struct Plan {
  dnnl::primitive primitive;
  dnnl::memory::desc x, bias, y, residual;
  int residual_index = 0;  // of the residual among the post-ops
  std::size_t scratch_bytes = 0;
  bool residual_in_y = false;  // the residual is added to what y holds; copy it there first
  std::string implementation;
};

// Weights in the layout oneDNN prefers for their shape.
class PackedWeights {
 public:
  PackedWeights() = default;
  explicit PackedWeights(dnnl::memory memory) : memory_(std::move(memory)) {}
  const dnnl::memory& memory() const { return memory_; }
  std::size_t bytes() const { return memory_ ? memory_.get_desc().get_size() : 0; }

 private:
  dnnl::memory memory_;
};

struct Operands {
  const void* x = nullptr;
  const PackedWeights* weights = nullptr;
  const float* bias = nullptr;
  const void* residual = nullptr;
  void* y = nullptr;
};

class Onednn {
 public:
  Onednn();

  // From [out, in] or [out, in, k, k] in F32.
  PackedWeights pack_linear(const float* weight, std::int64_t in, std::int64_t out, DType type,
                            int threads);
  PackedWeights pack_conv(const float* weight, const ConvSpec& spec, DType type, int threads);

  const Plan& find(const GemmShape& shape, const PackedWeights& weights);
  const Plan& find(const ConvShape& shape, const PackedWeights& weights);

  // scratch holds plan.scratch_bytes, 64-byte aligned.
  void run(const Plan& plan, const Operands& operands, void* scratch) const;

  std::string version() const;

 private:
  Plan make(const GemmShape& shape, const PackedWeights& weights);
  Plan make(const ConvShape& shape, const PackedWeights& weights);
  PackedWeights pack(const float* weight, const dnnl::memory::desc& plain,
                     const dnnl::memory::desc& wanted, int threads);

  dnnl::engine engine_;
  std::map<decltype(GemmShape{}.key()), std::unique_ptr<Plan>> gemms_;
  std::map<decltype(ConvShape{}.key()), std::unique_ptr<Plan>> convs_;
};

}  // namespace seamwright::model::cpu

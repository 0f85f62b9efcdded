// The CPU backend's class. Ops live in the file of their kind: linear.cpp, conv.cpp, norm.cpp,
// attention.cpp, elementwise.cpp; loading in prepare.cpp, fp32 3x3 convolutions in winograd.cpp,
// fp32 products in panels.cpp, bf16 products on the tile unit in tiled.cpp.
// Threads: one thread at a time per backend.
#pragma once

#include <string>
#include <vector>

#include "model/backend.h"
#include "model/cpu/isa.h"
#include "model/cpu/onednn.h"
#include "model/cpu/prepared.h"
#include "model/cpu/simd/kernels.h"

namespace seamwright::model::cpu {

// Memory that grows to the largest size asked for and stays.
class Workspace {
 public:
  std::byte* at_least(std::size_t bytes);

 private:
  Tensor memory_;
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(DType activation, int threads, Isa isa);

  std::string_view name() const override { return "cpu"; }
  DType activation_type() const override { return activation_; }
  DType wide_type() const override { return DType::kF32; }
  bool wide_residuals() const override { return activation_ != DType::kF32; }
  Allocator& memory() override { return heap(); }
  std::string fingerprint() const override;
  void set_threads(int threads) override;

  std::unique_ptr<PreparedConv> prepare_conv(const ConvSpec& spec, ConstView weight,
                                             ConstView bias) override;
  std::unique_ptr<PreparedLinear> prepare_linear(ConstView weight, ConstView bias) override;
  std::unique_ptr<PreparedLinear> prepare_geglu(ConstView weight, ConstView bias) override;
  std::unique_ptr<PreparedNorm> prepare_norm(ConstView scale, ConstView shift, double eps) override;

  void upload(ConstView host, View device) override;
  void download(ConstView device, View host) override;

  void conv2d(const PreparedConv& conv, ConstView x, const Epilogue& epilogue, View y,
              Allocator& scratch) override;
  void linear(const PreparedLinear& linear, ConstView x, const Epilogue& epilogue, View y,
              Allocator& scratch) override;
  void geglu(const PreparedLinear& linear, ConstView x, View y, Allocator& scratch) override;
  void group_norm(const PreparedNorm& norm, int groups, NormExtent extent, Activation activation,
                  ConstView x, View y, Allocator& scratch) override;
  void layer_norm(const PreparedNorm& norm, ConstView x, ConstView position, View y) override;
  void attention(int heads, bool causal, ConstView q, ConstView k, ConstView v, View y,
                 Allocator& scratch) override;
  void temporal_attention(int heads, ConstView q, ConstView k, ConstView v, View y,
                          Allocator& scratch) override;
  void add(ConstView a, ConstView b, View y) override;
  void activate(Activation activation, ConstView x, View y) override;
  void soft_clamp(double limit, ConstView x, View y) override;
  void affine(double scale, double shift, ConstView x, View y) override;
  void concat_channels(ConstView a, ConstView b, View y) override;
  void upsample_nearest(ConstView x, View y) override;
  void pixels_to_rgb8(ConstView x, View y) override;
  void gather_rows(ConstView table, std::span<const std::int32_t> ids, View y) override;

 private:
  // body(tag) with the activation type as decltype(tag), float or Bf16.
  template <class Body>
  void with_type(const Body& body) const {
    if (activation_ == DType::kF32) {
      body(float{});
    } else {
      body(Bf16{});
    }
  }
  void widen_stored(ConstView values, float* to) const;
  std::vector<float> floats_of(ConstView values) const;
  const float* stored_floats(ConstView values);  // valid until the workspace is used again
  std::unique_ptr<CpuLinear> make_linear(const float* weight, std::int64_t in, std::int64_t out,
                                         ConstView bias);
  // Whether a product of these sizes runs on the tile unit: tiled.cpp.
  bool on_tiles(std::int64_t in, std::int64_t out) const;
  // The kernels of norms, of which those on bf16 have faster forms beside the tile unit.
  template <class T>
  TypedKernels<T> norm_kernels(Activation activation) const;
  // biases: one, or one per equal run of rows.
  void tiled_linear(const CpuLinear& linear, const std::vector<std::vector<float>>& biases,
                    ConstView x, const Epilogue& epilogue, View y);
  void tiled_geglu(const CpuGeglu& geglu, ConstView x, View y);
  void tiled_conv(const CpuConv& conv, const std::vector<std::vector<float>>& biases, ConstView x,
                  const Epilogue& epilogue, View y);
  // Whether products run on our own fp32 panels: panels.cpp.
  bool on_panels() const { return activation_ == DType::kF32 && compute_ == DType::kF32; }
  PanelWeights pack_panels(const WeightSource& source) const;
  void panel_linear(const CpuLinear& linear, const std::vector<std::vector<float>>& biases,
                    ConstView x, const Epilogue& epilogue, View y);
  void panel_geglu(const CpuGeglu& geglu, ConstView x, View y);
  // 0 where a direct convolution is used.
  int winograd_tile_for(const ConvSpec& spec) const;
  void pack_winograd(const float* weight, CpuConv& conv);
  // biases: one, or one per equal run of images.
  void winograd_conv(const CpuConv& conv, const std::vector<std::vector<float>>& biases,
                     ConstView x, const Epilogue& epilogue, View y);
  // Narrow images in one wide one, so that products have long lines.
  void conv_side_by_side(const CpuConv& conv, const std::vector<float>& bias, ConstView x,
                         const Epilogue& epilogue, View y);
  // Bias plus one row of per_channel, in fp32; empty when there is neither.
  std::vector<float> shifted_bias(const std::vector<float>& bias, ConstView row) const;
  // What a plan in fp32 needs where activations are bf16: its input widened, its result, and the
  // residual before, narrowed.
  struct Casts {
    bool widen = false, narrow = false;
  };
  // Of a plan in the compute type whose result is `wide`, fp32
  // whatever the activation type, or not.
  Casts casts(bool wide) const { return {through_fp32(), through_fp32() && !wide}; }
  void run_plan(const Plan& plan, Operands operands, std::int64_t x_elements,
                std::int64_t y_elements, std::byte* work, Casts casts) const;
  std::size_t plan_work(const Plan& plan, std::int64_t x_elements, std::int64_t y_elements,
                        Casts casts) const;
  bool through_fp32() const { return compute_ != activation_; }

  DType activation_;
  DType compute_;  // what matrix products take: fp32 where the CPU has no bf16 path
  int threads_;
  Isa isa_;
  const Kernels& kernels_;
  Onednn onednn_;
  Workspace workspace_;
};

}  // namespace seamwright::model::cpu

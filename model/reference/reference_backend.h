// Folder-private: the reference backend's class, split over several sources.
// Threads: as Backend.
#pragma once

#include <span>
#include <vector>

#include "model/backend.h"

namespace seamwright::model::reference {

struct Conv final : PreparedConv {
  std::vector<double> weight;  // [k, k, in, out]
  std::vector<double> bias;    // [out], zero when absent
};
struct Linear final : PreparedLinear {
  std::vector<double> weight;  // [in, out]; GEGLU: [in, 2*out]
  std::vector<double> bias;
};
struct Norm final : PreparedNorm {
  std::vector<double> scale, shift;
};

double apply(Activation activation, double x);

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  DType activation_type() const override { return DType::kF64; }
  Allocator& memory() override { return heap(); }
  std::string fingerprint() const override { return "reference f64"; }
  void set_threads(int) override {}

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
};

}  // namespace seamwright::model::reference

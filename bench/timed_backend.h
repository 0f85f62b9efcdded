// A backend that passes every call on and notes its time, by op and shape.
// Threads: one at a time, like the backend it wraps.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "model/backend.h"

namespace seamwright::bench {

struct OpRecord {
  std::int64_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0;  // bytes: inputs, outputs and weights once each
  double cpu_seconds = 0;  // of all threads: what other load on the machine does not change
  // One call's on the device alone, where the backend can tell; then `seconds` is made of these.
  std::optional<double> alone;
};

class TimedBackend final : public model::Backend {
 public:
  explicit TimedBackend(model::Backend& inner) : inner_(inner) {}
  const std::map<std::string, OpRecord>& records() const { return records_; }
  void clear() { records_.clear(); }

  std::string_view name() const override { return inner_.name(); }
  model::DType activation_type() const override { return inner_.activation_type(); }
  model::DType wide_type() const override { return inner_.wide_type(); }
  bool wide_residuals() const override { return inner_.wide_residuals(); }
  bool joined_projections() const override { return inner_.joined_projections(); }
  model::Allocator& memory() override { return inner_.memory(); }
  std::string fingerprint() const override { return inner_.fingerprint(); }
  void set_threads(int threads) override { inner_.set_threads(threads); }
  void synchronize() override { inner_.synchronize(); }

  std::unique_ptr<model::PreparedConv> prepare_conv(const model::ConvSpec& spec,
                                                    model::ConstView weight,
                                                    model::ConstView bias) override {
    return inner_.prepare_conv(spec, weight, bias);
  }
  std::unique_ptr<model::PreparedLinear> prepare_linear(model::ConstView weight,
                                                        model::ConstView bias) override {
    return inner_.prepare_linear(weight, bias);
  }
  std::unique_ptr<model::PreparedLinear> prepare_joined(
      std::span<const model::ConstView> weights) override {
    return inner_.prepare_joined(weights);
  }
  std::unique_ptr<model::PreparedLinear> prepare_geglu(model::ConstView weight,
                                                       model::ConstView bias) override {
    return inner_.prepare_geglu(weight, bias);
  }
  std::unique_ptr<model::PreparedNorm> prepare_norm(model::ConstView scale, model::ConstView shift,
                                                    double eps) override {
    return inner_.prepare_norm(scale, shift, eps);
  }
  void upload(model::ConstView host, model::View device) override { inner_.upload(host, device); }
  void download(model::ConstView device, model::View host) override {
    inner_.download(device, host);
  }
  std::unique_ptr<model::Readback> read_back(model::ConstView device,
                                             std::span<std::byte> host) override {
    return inner_.read_back(device, host);
  }
  void copy_out(model::ConstView device, std::span<std::byte> host) override {
    inner_.copy_out(device, host);
  }
  void copy_in(std::span<const std::byte> host, model::View device) override {
    inner_.copy_in(host, device);
  }
  void copy(model::ConstView from, model::View to) override { inner_.copy(from, to); }

  void conv2d(const model::PreparedConv& conv, model::ConstView x, const model::Epilogue& epilogue,
              model::View y, model::Allocator& scratch) override;
  void linear(const model::PreparedLinear& linear, model::ConstView x,
              const model::Epilogue& epilogue, model::View y, model::Allocator& scratch) override;
  void geglu(const model::PreparedLinear& linear, model::ConstView x, model::View y,
             model::Allocator& scratch) override;
  void group_norm(const model::PreparedNorm& norm, int groups, model::NormExtent extent,
                  model::Activation activation, model::ConstView x, model::View y,
                  model::Allocator& scratch) override;
  void layer_norm(const model::PreparedNorm& norm, model::ConstView x, model::ConstView position,
                  model::View y) override;
  void attention(int heads, bool causal, model::ConstView q, model::ConstView k, model::ConstView v,
                 model::View y, model::Allocator& scratch) override;
  void temporal_attention(int heads, model::ConstView q, model::ConstView k, model::ConstView v,
                          model::View y, model::Allocator& scratch) override;
  void self_attention(int heads, model::ConstView qkv, model::View y,
                      model::Allocator& scratch) override;
  void temporal_self_attention(int heads, model::ConstView qkv, model::View y,
                               model::Allocator& scratch) override;
  void add(model::ConstView a, model::ConstView b, model::View y) override;
  void activate(model::Activation activation, model::ConstView x, model::View y) override;
  void soft_clamp(double limit, model::ConstView x, model::View y) override;
  void affine(double scale, double shift, model::ConstView x, model::View y) override;
  void concat_channels(model::ConstView a, model::ConstView b, model::View y) override;
  void upsample_nearest(model::ConstView x, model::View y) override;
  void pixels_to_rgb8(model::ConstView x, model::View y) override;
  void gather_rows(model::ConstView table, std::span<const std::int32_t> ids,
                   model::View y) override;

 private:
  template <class Body>
  void timed(const std::string& key, model::View y, double flops, double bytes, const Body& body);
  std::optional<double> seconds_alone(model::View y, const std::function<void()>& op);

  model::Backend& inner_;
  std::map<std::string, OpRecord> records_;
};

}  // namespace seamwright::bench

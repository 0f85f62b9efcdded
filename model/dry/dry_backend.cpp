#include "model/dry/dry_backend.h"

#include <algorithm>
#include <cstring>

namespace seamwright::model {

void* CountingAllocator::allocate(std::size_t bytes) {
  const std::uintptr_t at = next_;
  next_ += (bytes + 127) / 64 * 64;
  in_use_ += bytes;
  peak_ = std::max(peak_, in_use_);
  return reinterpret_cast<void*>(at);  // NOLINT: an address that is only compared
}

void CountingAllocator::release(void*, std::size_t bytes) noexcept { in_use_ -= bytes; }

namespace {

struct DryConv final : PreparedConv {};
struct DryLinear final : PreparedLinear {};
struct DryNorm final : PreparedNorm {};

double count(ConstView view) { return static_cast<double>(view.elements()); }
double traffic(ConstView view) { return static_cast<double>(view.bytes()); }

class Dry final : public DryBackend {
 public:
  Dry(DType activations, bool wide_residuals, bool joined_projections)
      : type_(activations),
        wide_residuals_(wide_residuals),
        joined_projections_(joined_projections) {}

  std::string_view name() const override { return "dry"; }
  DType activation_type() const override { return type_; }
  DType wide_type() const override { return wide_residuals_ ? DType::kF32 : type_; }
  bool wide_residuals() const override { return wide_residuals_; }
  bool joined_projections() const override { return joined_projections_; }
  Allocator& memory() override { return counter_; }
  CountingAllocator& counter() override { return counter_; }
  std::string fingerprint() const override { return "dry"; }
  void set_threads(int) override {}
  std::vector<OpRecord> take_records() override { return std::exchange(records_, {}); }

  std::unique_ptr<PreparedConv> prepare_conv(const ConvSpec& spec, ConstView weight,
                                             ConstView bias) override {
    auto conv = std::make_unique<DryConv>();
    conv->spec = spec;
    conv->resident_bytes = resident(weight, bias);
    return conv;
  }
  std::unique_ptr<PreparedLinear> prepare_linear(ConstView weight, ConstView bias) override {
    auto linear = std::make_unique<DryLinear>();
    linear->out = weight.shape[0];
    linear->in = weight.shape[1];
    linear->resident_bytes = resident(weight, bias);
    return linear;
  }
  std::unique_ptr<PreparedLinear> prepare_joined(std::span<const ConstView> weights) override {
    auto linear = std::make_unique<DryLinear>();
    linear->in = weights.front().shape[1];
    for (const ConstView& weight : weights) {
      linear->out += weight.shape[0];
      linear->resident_bytes += resident(weight, {});
    }
    return linear;
  }
  std::unique_ptr<PreparedLinear> prepare_geglu(ConstView weight, ConstView bias) override {
    auto linear = prepare_linear(weight, bias);
    linear->out /= 2;
    return linear;
  }
  std::unique_ptr<PreparedNorm> prepare_norm(ConstView scale, ConstView, double eps) override {
    auto norm = std::make_unique<DryNorm>();
    norm->channels = scale.shape[0];
    norm->eps = eps;
    norm->resident_bytes = 8 * static_cast<std::size_t>(norm->channels);
    return norm;
  }

  void upload(ConstView, View) override {}
  void download(ConstView, View host) override { std::memset(host.data, 0, host.bytes()); }
  void copy_out(ConstView, std::span<std::byte>) override {}
  void copy_in(std::span<const std::byte>, View) override {}

  void conv2d(const PreparedConv& conv, ConstView x, const Epilogue& e, View y,
              Allocator&) override {
    const ConvSpec& s = conv.spec;
    const double macs = count(y) * static_cast<double>(s.in * s.kernel * s.kernel);
    record("conv2d",
           fmt::format("{} -> {} k{} s{}", x.shape.to_string(), s.out, s.kernel, s.stride),
           2 * macs, traffic(x) + traffic(y) + extra(e) + static_cast<double>(conv.resident_bytes));
  }
  void linear(const PreparedLinear& linear, ConstView x, const Epilogue& e, View y,
              Allocator&) override {
    record("linear", fmt::format("{} -> {}", x.shape.to_string(), linear.out),
           2 * count(x) * static_cast<double>(linear.out),
           traffic(x) + traffic(y) + extra(e) + static_cast<double>(linear.resident_bytes));
  }
  void geglu(const PreparedLinear& linear, ConstView x, View y, Allocator&) override {
    record("geglu", fmt::format("{} -> {}", x.shape.to_string(), linear.out),
           4 * count(x) * static_cast<double>(linear.out),
           traffic(x) + traffic(y) + static_cast<double>(linear.resident_bytes));
  }
  void group_norm(const PreparedNorm&, int groups, NormExtent extent, Activation, ConstView x,
                  View y, Allocator&) override {
    record("group_norm",
           fmt::format("{} groups {}{}", x.shape.to_string(), groups,
                       extent == NormExtent::kAcrossFrames ? " across frames" : ""),
           0, traffic(x) + traffic(y));
  }
  void layer_norm(const PreparedNorm&, ConstView x, ConstView, View y) override {
    record("layer_norm", x.shape.to_string(), 0, traffic(x) + traffic(y));
  }
  void attention(int heads, bool, ConstView q, ConstView k, ConstView v, View y,
                 Allocator&) override {
    record("attention", fmt::format("{} keys {} heads {}", q.shape.to_string(), k.shape[1], heads),
           4 * count(q) * static_cast<double>(k.shape[1]),
           traffic(q) + traffic(k) + traffic(v) + traffic(y));
  }
  void temporal_attention(int heads, ConstView q, ConstView k, ConstView v, View y,
                          Allocator&) override {
    record("temporal_attention", fmt::format("{} heads {}", q.shape.to_string(), heads),
           4 * count(q) * static_cast<double>(q.shape[0]),
           traffic(q) + traffic(k) + traffic(v) + traffic(y));
  }
  void self_attention(int heads, ConstView qkv, View y, Allocator&) override {
    record("attention", fmt::format("{} heads {}", qkv.shape.to_string(), heads),
           4 * count(y) * static_cast<double>(y.shape[1]), traffic(qkv) + traffic(y));
  }
  void temporal_self_attention(int heads, ConstView qkv, View y, Allocator&) override {
    record("temporal_attention", fmt::format("{} heads {}", qkv.shape.to_string(), heads),
           4 * count(y) * static_cast<double>(y.shape[0]), traffic(qkv) + traffic(y));
  }
  void add(ConstView a, ConstView b, View y) override {
    record("add", a.shape.to_string(), 0, traffic(a) + traffic(b) + traffic(y));
  }
  void activate(Activation, ConstView x, View y) override { copy("activate", x, y); }
  void soft_clamp(double, ConstView x, View y) override { copy("soft_clamp", x, y); }
  void affine(double, double, ConstView x, View y) override { copy("affine", x, y); }
  void concat_channels(ConstView a, ConstView b, View y) override {
    record("concat_channels", y.shape.to_string(), 0, traffic(a) + traffic(b) + traffic(y));
  }
  void upsample_nearest(ConstView x, View y) override { copy("upsample_nearest", x, y); }
  void pixels_to_rgb8(ConstView x, View y) override { copy("pixels_to_rgb8", x, y); }
  void gather_rows(ConstView, std::span<const std::int32_t>, View y) override {
    copy("gather_rows", y, y);
  }

 private:
  std::size_t resident(ConstView weight, ConstView bias) const {
    return static_cast<std::size_t>(weight.elements()) * byte_size(type_) +
           (bias ? static_cast<std::size_t>(bias.elements()) * 4 : 0);
  }
  static double extra(const Epilogue& e) {
    return (e.per_channel ? traffic(e.per_channel) : 0) + (e.residual ? traffic(e.residual) : 0);
  }
  void record(std::string_view kind, std::string detail, double flops, double bytes) {
    records_.push_back({kind, std::move(detail), flops, bytes});
  }
  void copy(std::string_view kind, ConstView x, ConstView y) {
    record(kind, y.shape.to_string(), 0, traffic(x) + traffic(y));
  }

  DType type_;
  bool wide_residuals_, joined_projections_;
  CountingAllocator counter_;
  std::vector<OpRecord> records_;
};

}  // namespace

std::unique_ptr<DryBackend> make_dry_backend(DType activations, bool wide_residuals,
                                             bool joined_projections) {
  ensure(activations == DType::kF32 || activations == DType::kBF16 || activations == DType::kF16 ||
             activations == DType::kF64,
         "activations are counted in F64, F32, BF16 or F16, not {}", to_string(activations));
  return std::make_unique<Dry>(activations, wide_residuals, joined_projections);
}

std::unique_ptr<DryBackend> make_dry_backend(const Backend& backend) {
  return make_dry_backend(backend.activation_type(), backend.wide_residuals(),
                          backend.joined_projections());
}

}  // namespace seamwright::model

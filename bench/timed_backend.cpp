#include "bench/timed_backend.h"

#include <ctime>

namespace seamwright::bench {

using namespace model;  // NOLINT: every name here is one of the seam's

namespace {

double elements(ConstView x) { return static_cast<double>(x.elements()); }
double size(ConstView x) { return x ? static_cast<double>(x.bytes()) : 0; }
std::string text(ConstView x) { return x.shape.to_string(); }

double process_cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

// The op may read what it writes, so `y` is as it was when this returns. Without `y` the op cannot
// run again.
std::optional<double> TimedBackend::seconds_alone(View y, const std::function<void()>& op) {
  if (!y || y.elements() == 0) return std::nullopt;
  Tensor before(inner_.memory(), y.dtype, y.shape);
  inner_.copy(y, before);
  const auto seconds = inner_.seconds_alone(op);
  inner_.copy(before, y);
  inner_.synchronize();
  return seconds;
}

template <class Body>
void TimedBackend::timed(const std::string& key, View y, double flops, double bytes,
                         const Body& body) {
  OpRecord& record = records_[key];
  if (record.calls == 0) record.alone = seconds_alone(y, body);
  const auto start = std::chrono::steady_clock::now();
  const double cpu_start = process_cpu_seconds();
  body();
  inner_.synchronize();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  ++record.calls;
  record.seconds += record.alone.value_or(took.count());
  record.cpu_seconds += process_cpu_seconds() - cpu_start;
  record.flops += flops;
  record.bytes += bytes;
}

void TimedBackend::conv2d(const PreparedConv& conv, ConstView x, const Epilogue& epilogue, View y,
                          Allocator& scratch) {
  const ConvSpec& s = conv.spec;
  const double flops = 2.0 * elements(y) * static_cast<double>(s.in * s.kernel * s.kernel);
  timed(fmt::format("conv{}x{}{} {} -> {}{}", s.kernel, s.kernel, s.stride > 1 ? " /2" : "",
                    text(x), s.out, epilogue.residual ? " +res" : ""),
        y, flops,
        size(x) + size(y) + size(epilogue.residual) + static_cast<double>(conv.resident_bytes),
        [&] { inner_.conv2d(conv, x, epilogue, y, scratch); });
}

void TimedBackend::linear(const PreparedLinear& linear, ConstView x, const Epilogue& epilogue,
                          View y, Allocator& scratch) {
  timed(fmt::format("linear {} -> {}{}", text(x), linear.out, epilogue.residual ? " +res" : ""), y,
        2.0 * elements(x) * static_cast<double>(linear.out),
        size(x) + size(y) + size(epilogue.residual) + static_cast<double>(linear.resident_bytes),
        [&] { inner_.linear(linear, x, epilogue, y, scratch); });
}

void TimedBackend::geglu(const PreparedLinear& linear, ConstView x, View y, Allocator& scratch) {
  timed(fmt::format("geglu {} -> {}", text(x), linear.out), y,
        4.0 * elements(x) * static_cast<double>(linear.out),
        size(x) + size(y) + static_cast<double>(linear.resident_bytes),
        [&] { inner_.geglu(linear, x, y, scratch); });
}

void TimedBackend::group_norm(const PreparedNorm& norm, int groups, NormExtent extent,
                              Activation activation, ConstView x, View y, Allocator& scratch) {
  timed(fmt::format("group_norm{}{} {}", activation == Activation::kSilu ? "+silu" : "",
                    extent == NormExtent::kAcrossFrames ? " across" : "", text(x)),
        y, 0, 2 * size(x) + size(y),
        [&] { inner_.group_norm(norm, groups, extent, activation, x, y, scratch); });
}

void TimedBackend::layer_norm(const PreparedNorm& norm, ConstView x, ConstView position, View y) {
  timed(fmt::format("layer_norm {}", text(x)), y, 0, size(x) + size(y),
        [&] { inner_.layer_norm(norm, x, position, y); });
}

void TimedBackend::attention(int heads, bool causal, ConstView q, ConstView k, ConstView v, View y,
                             Allocator& scratch) {
  timed(fmt::format("attention {} x {} keys, {} heads", text(q), k.shape[1], heads), y,
        4.0 * elements(q) * static_cast<double>(k.shape[1]), size(q) + size(k) + size(v) + size(y),
        [&] { inner_.attention(heads, causal, q, k, v, y, scratch); });
}

void TimedBackend::temporal_attention(int heads, ConstView q, ConstView k, ConstView v, View y,
                                      Allocator& scratch) {
  timed(fmt::format("temporal_attention {}, {} heads", text(q), heads), y,
        4.0 * elements(q) * static_cast<double>(q.shape[0]), 4 * size(q),
        [&] { inner_.temporal_attention(heads, q, k, v, y, scratch); });
}

void TimedBackend::self_attention(int heads, ConstView qkv, View y, Allocator& scratch) {
  timed(fmt::format("attention {} x {} keys, {} heads, joined", text(y), y.shape[1], heads), y,
        4.0 * elements(y) * static_cast<double>(y.shape[1]), size(qkv) + size(y),
        [&] { inner_.self_attention(heads, qkv, y, scratch); });
}

void TimedBackend::temporal_self_attention(int heads, ConstView qkv, View y, Allocator& scratch) {
  timed(fmt::format("temporal_attention {}, {} heads, joined", text(y), heads), y,
        4.0 * elements(y) * static_cast<double>(y.shape[0]), size(qkv) + size(y),
        [&] { inner_.temporal_self_attention(heads, qkv, y, scratch); });
}

void TimedBackend::add(ConstView a, ConstView b, View y) {
  timed("add " + text(y), y, 0, 3 * size(y), [&] { inner_.add(a, b, y); });
}
void TimedBackend::activate(Activation activation, ConstView x, View y) {
  timed("activate " + text(y), y, 0, 2 * size(y), [&] { inner_.activate(activation, x, y); });
}
void TimedBackend::soft_clamp(double limit, ConstView x, View y) {
  timed("soft_clamp " + text(y), y, 0, 2 * size(y), [&] { inner_.soft_clamp(limit, x, y); });
}
void TimedBackend::affine(double scale, double shift, ConstView x, View y) {
  timed("affine " + text(y), y, 0, 2 * size(y), [&] { inner_.affine(scale, shift, x, y); });
}
void TimedBackend::concat_channels(ConstView a, ConstView b, View y) {
  timed("concat " + text(y), y, 0, 2 * size(y), [&] { inner_.concat_channels(a, b, y); });
}
void TimedBackend::upsample_nearest(ConstView x, View y) {
  timed("upsample " + text(y), y, 0, size(x) + size(y), [&] { inner_.upsample_nearest(x, y); });
}
void TimedBackend::pixels_to_rgb8(ConstView x, View y) {
  timed("pixels_to_rgb8 " + text(y), y, 0, size(x) + size(y), [&] { inner_.pixels_to_rgb8(x, y); });
}
void TimedBackend::gather_rows(ConstView table, std::span<const std::int32_t> ids, View y) {
  timed("gather " + text(y), {}, 0, 2 * size(y), [&] { inner_.gather_rows(table, ids, y); });
}

}  // namespace seamwright::bench

// Kernels that touch each element once.
#include "model/cuda/kernels.h"
#include "model/cuda/kernels/dispatch.h"

namespace seamwright::model::cuda {
namespace {

constexpr int kThreads = 256;

// Elements per thread: 16 bytes.
template <class T>
constexpr int kWide = 16 / static_cast<int>(sizeof(T));

struct AddOp {
  SW_DEVICE float operator()(float a, float b) const { return a + b; }
};
struct ActivateOp {
  int code;
  SW_DEVICE float operator()(float a, float) const { return apply_activation(code, a); }
};
struct SoftClampOp {
  float limit;
  SW_DEVICE float operator()(float a, float) const { return limit * tanh_of(a / limit); }
};
struct AffineOp {
  float scale, shift;
  SW_DEVICE float operator()(float a, float) const { return scale * a + shift; }
};

template <class T, class Op>
SW_KERNEL map_kernel(const T* a, const T* b, T* y, std::int64_t count, bool wide, Op op) {
  constexpr int n = kWide<T>;
  const std::int64_t first = (block_x() * kThreads + thread_index()) * n;
  if (wide && first + n <= count) {
    using P = Pack<T, n>;
    const P x = *reinterpret_cast<const P*>(a + first);
    const P z = b != nullptr ? *reinterpret_cast<const P*>(b + first) : x;
    P out;
    SW_UNROLL
    for (int i = 0; i < n; ++i) out.at[i] = from_float<T>(op(to_float(x.at[i]), to_float(z.at[i])));
    *reinterpret_cast<P*>(y + first) = out;
    return;
  }
  for (std::int64_t i = first; i < count && i < first + n; ++i) {
    y[i] = from_float<T>(op(to_float(a[i]), b != nullptr ? to_float(b[i]) : 0.0F));
  }
}

template <class Op>
void map(Element type, const void* a, const void* b, void* y, std::int64_t count, const Op& op,
         Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    launch_independent(&map_kernel<T, Op>, {ceil_div(count, kThreads * kWide<T>)}, kThreads, stream,
                       static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(y),
                       count, aligned_16(a, b, y), op);
  });
}

template <class T>
SW_KERNEL widen_kernel(const T* x, float* y, std::int64_t count) {
  const std::int64_t i = block_x() * kThreads + thread_index();
  if (i < count) y[i] = to_float(x[i]);
}

SW_DEVICE std::uint8_t byte_of(float value) {
  const float unit = value / 2.0F + 0.5F;
  const float clamped =
      unit > 0.0F ? (unit < 1.0F ? unit : 1.0F) : 0.0F;  // NaN fails the comparison
  return static_cast<std::uint8_t>(nearest_even(clamped * 255.0F));
}

// Four values a thread: what it writes is then one word.
template <class T>
SW_KERNEL rgb8_kernel(const T* x, std::uint8_t* y, std::int64_t count, bool wide) {
  constexpr int n = 4;
  const std::int64_t first = (block_x() * kThreads + thread_index()) * n;
  if (wide && first + n <= count) {
    const auto in = *reinterpret_cast<const Pack<T, n>*>(x + first);
    Pack<std::uint8_t, n> out;
    SW_UNROLL
    for (int i = 0; i < n; ++i) out.at[i] = byte_of(to_float(in.at[i]));
    *reinterpret_cast<Pack<std::uint8_t, n>*>(y + first) = out;
    return;
  }
  for (std::int64_t i = first; i < count && i < first + n; ++i) y[i] = byte_of(to_float(x[i]));
}

// Rows are taken apart in 32 bits: a division in 64 costs as much as what a thread does besides.
struct FinishShape {
  std::uint32_t words, words_per_row, rows_per_run;
  std::int64_t channels, x_stride;
  int activation, last;
};

// N: neighbouring channels of one row per thread.
template <class T, int N>
SW_KERNEL finish_kernel(const T* x, const T* bias, const T* per_channel, const T* residual, T* y,
                        FinishShape shape) {
  const auto index = static_cast<std::uint32_t>(block_x() * kThreads + thread_index());
  if (index >= shape.words) return;
  const std::uint32_t row = index / shape.words_per_row, c = index % shape.words_per_row * N;
  using P = Pack<T, N>;
  const P in = *reinterpret_cast<const P*>(x + row * shape.x_stride + c);
  P b, p, r, out;
  if (bias != nullptr) b = *reinterpret_cast<const P*>(bias + c);
  if (per_channel != nullptr) {
    p = *reinterpret_cast<const P*>(per_channel + row / shape.rows_per_run * shape.channels + c);
  }
  const std::int64_t at = row * shape.channels + c;
  if (residual != nullptr) r = *reinterpret_cast<const P*>(residual + at);
  SW_UNROLL
  for (int i = 0; i < N; ++i) {
    float v = to_float(in.at[i]);
    if (bias != nullptr) v += to_float(b.at[i]);
    if (per_channel != nullptr) v += to_float(p.at[i]);
    v = apply_activation(shape.activation, v);
    if (residual != nullptr) v += to_float(r.at[i]);
    out.at[i] = from_float<T>(apply_activation(shape.last, v));
  }
  *reinterpret_cast<P*>(y + at) = out;
}

template <class T, int N>
SW_KERNEL gate_kernel(const T* x, const T* bias, T* y, std::uint32_t words,
                      std::uint32_t words_per_row) {
  const auto index = static_cast<std::uint32_t>(block_x() * kThreads + thread_index());
  if (index >= words) return;
  const std::uint32_t row = index / words_per_row, c = index % words_per_row * N;
  const std::int64_t inner = static_cast<std::int64_t>(words_per_row) * N;
  using P = Pack<T, N>;
  const T* from = x + row * 2 * inner + c;
  const P value = *reinterpret_cast<const P*>(from);
  const P gates = *reinterpret_cast<const P*>(from + inner);
  P value_bias, gate_bias, out;
  if (bias != nullptr) {
    value_bias = *reinterpret_cast<const P*>(bias + c);
    gate_bias = *reinterpret_cast<const P*>(bias + inner + c);
  }
  SW_UNROLL
  for (int i = 0; i < N; ++i) {
    float v = to_float(value.at[i]), g = to_float(gates.at[i]);
    if (bias != nullptr) {
      v += to_float(value_bias.at[i]);
      g += to_float(gate_bias.at[i]);
    }
    out.at[i] = from_float<T>(v * apply_activation(3, g));
  }
  *reinterpret_cast<P*>(y + row * inner + c) = out;
}

// Words that 32 bits can count.
std::uint32_t words_of(std::int64_t elements, int per_word) {
  const std::int64_t words = elements / per_word;
  check_limit("words of a tensor", words, 0xffffffff);
  return static_cast<std::uint32_t>(words);
}

template <class T>
SW_KERNEL numbers_kernel(T* y, std::int64_t count, std::uint32_t seed) {
  const std::int64_t i = block_x() * kThreads + thread_index();
  if (i >= count) return;
  std::uint32_t x = static_cast<std::uint32_t>(i) * 0x9E3779B1U + seed * 0x85EBCA77U;
  x ^= x >> 15;
  x *= 0x2C1B3C6DU;
  x ^= x >> 12;
  y[i] = from_float<T>(static_cast<float>(x >> 8) * (1.0F / 8388608.0F) - 1.0F);
}

SW_KERNEL clear_kernel(std::int32_t* differs) { *differs = 0; }

// One thread a word, one for the bytes after the last whole one; whoever writes, writes the same.
SW_KERNEL compare_kernel(const std::uint32_t* a, const std::uint32_t* b, std::int64_t bytes,
                         std::int32_t* differs) {
  const std::int64_t i = block_x() * kThreads + thread_index(), words = bytes / 4;
  if (i < words && a[i] != b[i]) *differs = 1;
  if (i != words) return;
  const auto *first = reinterpret_cast<const std::uint8_t*>(a),
             *second = reinterpret_cast<const std::uint8_t*>(b);
  for (std::int64_t at = words * 4; at < bytes; ++at) {
    if (first[at] != second[at]) *differs = 1;
  }
}

}  // namespace

void fill_with_numbers(Element type, void* y, std::int64_t count, std::uint32_t seed,
                       Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    launch_independent(&numbers_kernel<T>, {ceil_div(count, kThreads)}, kThreads, stream,
                       static_cast<T*>(y), count, seed);
  });
}

void compare_bytes(const void* a, const void* b, std::int64_t bytes, std::int32_t* differs,
                   Stream stream) {
  launch_independent(&clear_kernel, {1}, 1, stream, differs);
  launch_independent(&compare_kernel, {ceil_div(bytes / 4 + 1, kThreads)}, kThreads, stream,
                     static_cast<const std::uint32_t*>(a), static_cast<const std::uint32_t*>(b),
                     bytes, differs);
}

void add(Element type, const void* a, const void* b, void* y, std::int64_t count, Stream stream) {
  map(type, a, b, y, count, AddOp{}, stream);
}

void activate(Element type, ActivationCode activation, const void* x, void* y, std::int64_t count,
              Stream stream) {
  map(type, x, nullptr, y, count, ActivateOp{activation}, stream);
}

void soft_clamp(Element type, float limit, const void* x, void* y, std::int64_t count,
                Stream stream) {
  map(type, x, nullptr, y, count, SoftClampOp{limit}, stream);
}

void affine(Element type, float scale, float shift, const void* x, void* y, std::int64_t count,
            Stream stream) {
  map(type, x, nullptr, y, count, AffineOp{scale, shift}, stream);
}

void widen(Element type, const void* x, float* y, std::int64_t count, Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    launch_independent(&widen_kernel<T>, {ceil_div(count, kThreads)}, kThreads, stream,
                       static_cast<const T*>(x), y, count);
  });
}

void to_rgb8(Element type, const void* x, std::uint8_t* y, std::int64_t count, Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    launch_independent(&rgb8_kernel<T>, {ceil_div(count, kThreads * 4)}, kThreads, stream,
                       static_cast<const T*>(x), y, count, aligned_16(x, y));
  });
}

void finish(Element type, const EpilogueCall& call, Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    constexpr int n = kWide<T>;
    const bool wide = call.channels % n == 0 && call.x_stride % n == 0 &&
                      aligned_16(call.x, call.bias, call.per_channel, call.residual, call.y);
    const int each = wide ? n : 1;
    const std::int64_t run = call.per_channel != nullptr ? call.rows / call.per_channel_rows : 1;
    const FinishShape shape{words_of(call.rows * call.channels, each),
                            words_of(call.channels, each),
                            words_of(run, 1),
                            call.channels,
                            call.x_stride,
                            call.activation,
                            call.last};
    launch_independent(wide ? &finish_kernel<T, n> : &finish_kernel<T, 1>,
                       {ceil_div(shape.words, kThreads)}, kThreads, stream,
                       static_cast<const T*>(call.x), static_cast<const T*>(call.bias),
                       static_cast<const T*>(call.per_channel),
                       static_cast<const T*>(call.residual), static_cast<T*>(call.y), shape);
  });
}

void gate(Element type, const void* x, const void* bias, void* y, std::int64_t rows,
          std::int64_t inner, Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    constexpr int n = kWide<T>;
    const bool wide = inner % n == 0 && aligned_16(x, bias, y);
    const int each = wide ? n : 1;
    const std::uint32_t words = words_of(rows * inner, each);
    launch_independent(wide ? &gate_kernel<T, n> : &gate_kernel<T, 1>, {ceil_div(words, kThreads)},
                       kThreads, stream, static_cast<const T*>(x), static_cast<const T*>(bias),
                       static_cast<T*>(y), words, words_of(inner, each));
  });
}

}  // namespace seamwright::model::cuda

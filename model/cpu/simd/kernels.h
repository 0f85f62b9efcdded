// The vector kernels of one instruction set: plain functions on the calling thread, no allocation.
// Threads: safe anywhere; callers split work into chunks.
#pragma once

#include <cstdint>

#include "model/backend.h"

namespace seamwright::model::cpu {

struct Bf16 {
  std::uint16_t bits;
};

// One head's attention for a run of queries; rows are strided, head elements contiguous.
template <class T>
struct AttentionTask {
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  T* y = nullptr;
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0, y_stride = 0;
  std::int64_t queries = 0, keys = 0, head = 0;
  float scale = 1;
  std::int64_t causal_first = -1;  // index of the first query among the keys; -1: no mask
  float* work = nullptr;           // attention_work(head, keys) floats, 64-byte aligned
};

// One tile of a 3x3 convolution with stride 1 and padding 1, of one image [height, width,
// channels].
template <class T>
struct WinogradTile {
  const T* x = nullptr;
  std::int64_t height = 0, width = 0, channels = 0;
  std::int64_t row = 0, column = 0;  // of the tile's first result
};

// Where a tile's results go: `columns` of `channels`, with what is added on the way.
template <class T>
struct WinogradResult {
  T* y = nullptr;               // at the first column
  const T* residual = nullptr;  // likewise, or null
  const float* bias = nullptr;  // likewise, or null
  std::int64_t channels = 0, columns = 0;
  Activation activation = Activation::kNone, last = Activation::kNone;
};

// c[rows][panel] (+)= a[rows][depth] * b[depth][panel].
struct PanelProduct {
  const float* a = nullptr;
  std::int64_t a_stride = 0;
  std::int64_t rows = 0;  // a multiple of register_rows
  std::int64_t depth = 0;
  std::int64_t columns = 0;  // 1 to panel; what c holds beyond them is not defined
  const float* b = nullptr;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  bool add = false;               // to what c holds
  const float* next_b = nullptr;  // will be read next, as much as b: fetched on the way
  // Rows that the result will be written to and added from: fetched on the way. Null: not.
  const float *y = nullptr, *residual = nullptr;
  std::int64_t y_stride = 0;
};

// Where `count` rows of a panel's sums c[count][panel] go: y =
// last(activation(c + bias) + residual).
template <class T>
struct PanelResult {
  const float* c = nullptr;
  std::int64_t count = 0, columns = 0;  // columns: 1 to panel
  const float* bias = nullptr;          // at the panel's first column, or null
  const T* residual = nullptr;          // as y, or null
  T* y = nullptr;
  std::int64_t y_stride = 0;
  Activation activation = Activation::kNone, last = Activation::kNone;
};

template <class T>
struct TypedKernels {
  void (*add)(const T* a, const T* b, T* y, std::int64_t n);
  void (*activate)(Activation activation, const T* x, T* y, std::int64_t n);
  void (*soft_clamp)(float limit, const T* x, T* y, std::int64_t n);
  void (*affine)(float scale, float shift, const T* x, T* y, std::int64_t n);
  void (*widen)(const T* x, float* y, std::int64_t n);
  void (*narrow)(const float* x, T* y, std::int64_t n);
  // See Backend::pixels_to_rgb8.
  void (*to_rgb8)(const T* x, std::uint8_t* y, std::int64_t n);
  // Adds each channel's sum and sum of squares over the rows to sums[c] and squares[c].
  void (*channel_sums)(const T* x, std::int64_t rows, std::int64_t channels, double* sums,
                       double* squares);
  // y = activation(x * scale[c] + shift[c])
  void (*scale_shift)(Activation activation, const T* x, std::int64_t rows, std::int64_t channels,
                      const float* scale, const float* shift, T* y);
  void (*scale_shift_wide)(Activation activation, const float* x, std::int64_t rows,
                           std::int64_t channels, const float* scale, const float* shift, T* y);
  // position: one row of channels, or null.
  void (*layer_norm)(const T* x, std::int64_t rows, std::int64_t channels, const float* scale,
                     const float* shift, float eps, const T* position, T* y);
  // pair holds rows of `width` values followed by `width` gates.
  void (*geglu)(const float* pair, std::int64_t rows, std::int64_t width, T* y,
                std::int64_t y_stride);
  void (*attend)(const AttentionTask<T>& task);
  // out_tile is 2 or 4; plane is the distance between the (out_tile + 2)^2 transformed values.
  void (*winograd_input)(int out_tile, const WinogradTile<T>& tile, float* v, std::int64_t plane);
  void (*winograd_output)(int out_tile, const WinogradTile<T>& tile,
                          const WinogradResult<T>& result, const float* m, std::int64_t plane);
};

struct Kernels {
  TypedKernels<float> f32;
  TypedKernels<Bf16> bf16;
  void (*half_to_float)(const std::uint16_t* x, float* y, std::int64_t n);
  std::int64_t (*attention_work)(std::int64_t head, std::int64_t keys);
  // Weights [out, in, 3, 3] of outputs first .. first + panel to u[plane][in][panel].
  void (*winograd_weights)(int out_tile, const float* weight, std::int64_t in, std::int64_t out,
                           std::int64_t first, float* u, std::int64_t plane);
  void (*multiply_panel)(const PanelProduct& product);
  void (*store_panel)(const PanelResult<float>& result);
  // The first half of a panel holds values, the second their gates: y = (value + bias) *
  // gelu(gate + bias). `columns` counts results, 1 to panel / 2; bias has a whole panel's elements.
  void (*store_gated_panel)(const PanelResult<float>& result);
  std::int64_t panel;          // columns of a panel
  std::int64_t register_rows;  // rows of a product are a multiple of this

  template <class T>
  const TypedKernels<T>& typed() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return bf16;
    }
  }
};

const Kernels& avx2_kernels();
const Kernels& avx512_kernels();

}  // namespace seamwright::model::cpu

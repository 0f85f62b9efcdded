// Folder-private: starting the backend's own kernels. Each call only puts work on its stream.
// Threads: any. Pointers are device memory; tensors are dense, channels last.
#pragma once

#include <cstdint>

#include "model/cuda/kernels/types.h"

namespace seamwright::model::cuda {

// ---- elements (elementwise.cu)
void add(Element type, const void* a, const void* b, void* y, std::int64_t count, Stream stream);
void activate(Element type, ActivationCode activation, const void* x, void* y, std::int64_t count,
              Stream stream);
void soft_clamp(Element type, float limit, const void* x, void* y, std::int64_t count,
                Stream stream);
// x of `type` to fp32.
void widen(Element type, const void* x, float* y, std::int64_t count, Stream stream);
// See Backend::pixels_to_rgb8.
void to_rgb8(Element type, const void* x, std::uint8_t* y, std::int64_t count, Stream stream);
void affine(Element type, float scale, float shift, const void* x, void* y, std::int64_t count,
            Stream stream);
// y = last(activation(x + bias + per_channel) + residual), all optional but x; x and y may be one.
// per_channel has `per_channel_rows` rows of `channels`, each for an equal run of rows of x.
struct EpilogueCall {
  const void* x = nullptr;  // [rows, x_stride]
  const void* bias = nullptr;
  const void* per_channel = nullptr;
  std::int64_t per_channel_rows = 1;
  const void* residual = nullptr;
  void* y = nullptr;
  std::int64_t rows = 0, channels = 0, x_stride = 0;
  ActivationCode activation = 0, last = 0;
};
void finish(Element type, const EpilogueCall& call, Stream stream);
// y[r, i] = value * gelu(gate) of x + bias, [rows, 2 * inner]: values first, then gates.
void gate(Element type, const void* x, const void* bias, void* y, std::int64_t rows,
          std::int64_t inner, Stream stream);

// Numbers in [-1, 1) that follow from the seed: for trials.
void fill_with_numbers(Element type, void* y, std::int64_t count, std::uint32_t seed,
                       Stream stream);
// *differs: whether any of so many bytes differ; a and b are 4-byte aligned.
void compare_bytes(const void* a, const void* b, std::int64_t bytes, std::int32_t* differs,
                   Stream stream);

// ---- moving (movement.cu)
// Columns [0, width) of every row; what `y` has beyond is zero when `clear` is set.
void copy_columns(Element type, const void* x, std::int64_t x_stride, void* y,
                  std::int64_t y_stride, std::int64_t rows, std::int64_t width, bool clear,
                  Stream stream);
void concat(Element type, const void* a, std::int64_t a_width, const void* b, std::int64_t b_width,
            void* y, std::int64_t rows, Stream stream);
void upsample(Element type, const void* x, ImageSize from, void* y, ImageSize to, std::int64_t n,
              std::int64_t channels, Stream stream);
void gather(Element type, const void* table, const std::int32_t* ids, void* y, std::int64_t rows,
            std::int64_t width, Stream stream);
// Rows [first, first + rows) of the patch matrix [n * oh * ow, kernel * kernel * in].
void gather_patches(Element type, PatchShape shape, const void* x, void* patches,
                    std::int64_t first, std::int64_t rows, Stream stream);

// ---- a convolution to few channels (narrow_conv.cu)
// y [n * oh * ow, out] fp32 = conv(x, w), with w [8, k, k, in] of which `out` <= 8 rows count.
// x and w have 16 bits an element, in % 16 == 0.
void convolve_narrow(Element type, PatchShape shape, const void* x, const void* w, float* y,
                     std::int64_t pixels, int out, Stream stream);

// ---- norms (norm.cu)
struct GroupNormCall {
  const void* x = nullptr;
  void* y = nullptr;
  const float *scale = nullptr, *shift = nullptr;
  float eps = 0;
  std::int64_t runs = 0, rows = 0;  // x is [runs, rows, channels]; statistics over one run's rows
  int channels = 0, groups = 0;
  bool silu = false;
};
// Floats of scratch that group_norm needs.
std::int64_t group_norm_scratch(const GroupNormCall& call);
void group_norm(Element type, const GroupNormCall& call, float* scratch, Stream stream);
struct LayerNormCall {
  const void* x = nullptr;
  void* y = nullptr;
  const float *scale = nullptr, *shift = nullptr;
  const void* position = nullptr;  // [rows / rows_per_position, channels] or null
  float eps = 0;
  std::int64_t rows = 0, rows_per_position = 1;
  int channels = 0;
};
void layer_norm(Element type, const LayerNormCall& call, Stream stream);

// ---- attention (attention.cu, temporal.cu)
struct AttentionCall {
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  void* y = nullptr;
  std::int64_t n = 0, queries = 0, keys = 0;
  int heads = 0, head_size = 0;
  std::int64_t row = 0;      // elements between rows of q, k and v; y is dense
  bool shared_keys = false;  // k and v have one batch entry for all n
};
// Whether the tensor-core kernel takes this (16-bit types, head sizes that divide by 8 up to 160).
bool can_attend_in_tiles(Element type, const AttentionCall& call);
void attend_in_tiles(Element type, const AttentionCall& call, Stream stream);
// fp32 scores [rows, keys] to probabilities [rows, keys] of `type`. Causal: row r sees keys up to
// first_query + r % rows_per_head.
struct SoftmaxCall {
  const float* scores = nullptr;
  void* probabilities = nullptr;
  std::int64_t rows = 0, keys = 0;
  std::int64_t rows_per_head = 1;
  std::int64_t first_query = 0;
  bool causal = false;
};
void softmax(Element type, const SoftmaxCall& call, Stream stream);
// q, k, v, y [frames, positions, heads * head_size]; attention over at most 32 frames. `row`:
// elements between positions of q, k and v; y is dense.
struct TemporalCall {
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  void* y = nullptr;
  int frames = 0, heads = 0, head_size = 0;
  std::int64_t positions = 0, row = 0;
};
void attend_over_frames(Element type, const TemporalCall& call, Stream stream);

}  // namespace seamwright::model::cuda

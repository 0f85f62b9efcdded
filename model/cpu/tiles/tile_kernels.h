// What runs on the tile unit (AMX, bf16 products with fp32 sums), on the calling thread.
// Threads: safe anywhere; each thread sets the unit up for itself (TileSession).
#pragma once

#include <cstdint>

#include "model/cpu/simd/kernels.h"

namespace seamwright::model::cpu {

// Sets the tile unit up for the functions below and clears it at the end. oneDNN sets up its own.
class TileSession {
 public:
  TileSession();
  ~TileSession();
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
};

inline constexpr std::int64_t kTileRows = 16, kBlockRows = 32, kBlockSums = 32 * 32;

// A part of a sum: `steps` times 32 elements of every row, from element `offset` of the row on.
struct TileRun {
  std::int64_t offset = 0, steps = 0;
};

// Cache lines to fetch, `lines` with every step: runs of `run`
// consecutive ones, `stride` bytes apart.
struct TileFetch {
  const void* from = nullptr;
  std::int64_t lines = 0, run = 1 << 30, stride = 0;
};

// One block: c[32][32] (+)= rows of a * columns of b. Rows are read up to the next multiple of 16.
struct TileProduct {
  const Bf16* a = nullptr;
  std::int64_t a_stride = 0;  // elements between rows
  std::int64_t rows = 0;      // 1 to 32
  const TileRun* runs = nullptr;
  std::int64_t run_count = 0, steps = 0;  // steps: of all runs
  const Bf16* b = nullptr;  // the runs' tiles one after another, as TileWeights holds them
  float* c = nullptr;       // 64-byte aligned
  bool add = false;         // to what c holds
  TileFetch columns, next_rows, next_results, next_residuals;  // of what comes later
};

// Where a block's sums go: y = last(activation(c + bias) + residual), rounded unless `wide`. Row
// after row is y_stride away; after every `run` rows, of which the
// first row is number in_run, comes a `jump`.
struct TileResult {
  const float* c = nullptr;
  std::int64_t count = 0, columns = 32;  // rows; columns: 1 to 32
  const float* bias = nullptr;           // at the panel's first column, or null
  bool wide = false;                     // y and residual are floats, not Bf16
  void* y = nullptr;
  const void* residual = nullptr;                                  // laid out as y, or null
  std::int64_t y_stride = 0, run = 1 << 30, in_run = 0, jump = 0;  // in elements
  Activation activation = Activation::kNone, last = Activation::kNone;
  // Columns 0 to 15 hold values, 16 to 31 their gates: y = (value + bias) * gelu(gate + bias).
  // `columns` then counts results, 1 to 16; bias has 32 elements as c has.
  bool gated = false;

  std::int64_t element_bytes() const { return wide ? 4 : 2; }
  // Results and residuals begin that many elements after these.
  void place(void* results, const void* residuals, std::int64_t elements) {
    y = static_cast<char*>(results) + elements * element_bytes();
    if (residuals == nullptr) return;
    residual = static_cast<const char*>(residuals) + elements * element_bytes();
  }
};

// Multiplies one block and meanwhile stores the one before it (nothing where its count is 0).
void multiply_tiles(const TileProduct& product, const TileResult& before);
void store_tiles(const TileResult& result);

// One head's attention without a mask: scores of 32 queries and 256 keys at a time, running maximum
// and sum in fp32, weights in bf16. task.work holds attention_tiles_work(head, keys) floats.
void attend_tiles(const AttentionTask<Bf16>& task);
std::int64_t attention_tiles_work(std::int64_t head, std::int64_t keys);

// As channel_sums, scale_shift and layer_norm of TypedKernels; they need no session.
void sum_bf16_channels(const Bf16* x, std::int64_t rows, std::int64_t channels, double* sums,
                       double* squares);
void scale_bf16_rows(bool silu, const Bf16* x, std::int64_t rows, std::int64_t channels,
                     const float* scale, const float* shift, Bf16* y);
void normalize_bf16_rows(const Bf16* x, std::int64_t rows, std::int64_t channels,
                         const float* scale, const float* shift, float eps, const Bf16* position,
                         Bf16* y);

}  // namespace seamwright::model::cpu

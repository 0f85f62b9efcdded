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

inline constexpr std::int64_t kTileRows = 16;

// c[rows][32] (+)= a[rows][depth] * b. Rows are read up to the next multiple of 16.
struct TileProduct {
  const Bf16* a = nullptr;
  std::int64_t a_stride = 0;  // elements between rows
  std::int64_t rows = 0;
  std::int64_t depth = 0;   // a multiple of 32
  const Bf16* b = nullptr;  // one block of one panel, as TileWeights holds it
  float* c = nullptr;       // rows up to the next multiple of 16, 64-byte aligned
  bool add = false;         // to what c holds
  // Fetched on the way: what will be read next, where rows of the result will go, and what will be
  // added to them (32 columns of each, rows y_stride apart).
  const Bf16 *next_b = nullptr, *y = nullptr, *residual = nullptr;
  std::int64_t y_stride = 0;
  const Bf16* next_a = nullptr;  // as many lines as next_lines
  std::int64_t next_lines = 0;
};
void multiply_tiles(const TileProduct& product);

// As PanelResult says; panels have 32 columns.
using TileResult = PanelResult<Bf16>;
void store_tiles(const TileResult& result);
// Columns 0 to 15 hold values, 16 to 31 their gates: y = (value + bias) * gelu(gate + bias).
// `columns` counts results, 1 to 16; bias has 32 elements as c has.
void store_gated_tiles(const TileResult& result);

// One head's attention without a mask: scores of 32 queries and 256 keys at a time, running maximum
// and sum in fp32, weights in bf16. task.work holds attention_tiles_work(head, keys) floats.
void attend_tiles(const AttentionTask<Bf16>& task);
std::int64_t attention_tiles_work(std::int64_t head, std::int64_t keys);

}  // namespace seamwright::model::cpu

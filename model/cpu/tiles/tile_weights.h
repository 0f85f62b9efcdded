// Weights of a matrix product laid out for the tile unit (AMX): panels of 32 columns, each a run of
// tiles in the order the kernel reads them.
// Threads: constant after construction; shareable.
#pragma once

#include <cstdint>
#include <vector>

#include "model/cpu/simd/kernels.h"
#include "model/tensor.h"

namespace seamwright::model::cpu {

// A run of the sum that one kernel call adds: `depth` consecutive elements (a multiple of 32) of
// every row, beginning at channel `channel` of the pixel at tap `tap` (0 in a linear layer).
struct DepthBlock {
  int tap = 0;
  std::int64_t channel = 0, depth = 0;
};

// How a sum over taps and channels is cut. Channels of one super-block, for all taps, stay in the
// second-level cache; one block's rows, for the taps of a line, stay in the first.
struct DepthPlan {
  std::int64_t channels = 0;
  int taps = 1;
  std::vector<std::vector<DepthBlock>> supers;  // outer: super-blocks
  std::int64_t depth() const { return channels * taps; }
};

// channels: a positive multiple of 32.
DepthPlan plan_depth(std::int64_t channels, int taps);

inline constexpr std::int64_t kPanelColumns = 32;

struct TileWeights {
  DepthPlan plan;
  std::int64_t columns = 0;  // of the product, without padding
  Tensor data;               // bf16, [panels][depth][32], in blocks of the plan's order

  std::int64_t panels() const { return (columns + kPanelColumns - 1) / kPanelColumns; }
  std::int64_t panel_size() const { return plan.depth() * kPanelColumns; }
  const Bf16* panel(std::int64_t p) const { return ConstView(data).as<Bf16>() + p * panel_size(); }
  std::size_t bytes() const { return ConstView(data).bytes(); }
  explicit operator bool() const { return columns > 0; }
};

// Where the weights are: data[order[column] * column_stride + tap + channel * taps].
struct WeightSource {
  const float* data = nullptr;
  std::int64_t channels = 0;
  int taps = 1;
  std::int64_t column_stride = 0;
  std::vector<std::int64_t> order;  // stored row of each column; -1: a column of zeros
};

// `columns` of the product; a source [columns][channels][taps] in its own order.
WeightSource plain_source(const float* data, std::int64_t columns, std::int64_t channels, int taps);
// GEGLU: rows [2 * inner][channels], values before gates, as
// panels of `half` values and their gates.
WeightSource gated_source(const float* data, std::int64_t inner, std::int64_t channels,
                          std::int64_t half);

TileWeights pack_tiles(const WeightSource& source, int threads);

}  // namespace seamwright::model::cpu

#include "model/cpu/tiles/tile_weights.h"

#include <bit>

#include "base/error.h"
#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

// 256 rows of 1280 channels are 640 KiB, which stay in the second-level cache, and so do the 400 or
// so pixels that a convolution of 256 reads, of 640 channels. Three taps of a line read nearly the
// same pixels: 34 of 320 channels are 21 KiB, which stay in the first-level cache.
constexpr std::int64_t kBlockDepth = 320, kSuperDepth = 1280, kSuperConvDepth = 640;
constexpr std::int64_t kTileDepth = 32, kTileColumns = 16, kTapsOfLine = 3;

// Even parts of at most `limit`, each a multiple of 32.
std::vector<std::int64_t> cut(std::int64_t size, std::int64_t limit) {
  const std::int64_t steps = size / kTileDepth, parts = ceil_div(size, limit);
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < parts; ++i) {
    out.push_back((steps * (i + 1) / parts - steps * i / parts) * kTileDepth);
  }
  return out;
}

Bf16 round_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (x != x) return {static_cast<std::uint16_t>((bits | 0x400000U) >> 16U)};
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U)};
}

}  // namespace

DepthPlan plan_depth(std::int64_t channels, int taps) {
  ensure(channels > 0 && channels % kTileDepth == 0 && taps > 0,
         "{} channels cannot be cut into tiles", channels);
  DepthPlan plan{channels, taps, {}};
  const int together = taps % kTapsOfLine == 0 ? kTapsOfLine : 1;
  std::int64_t super_begin = 0;
  for (const std::int64_t super : cut(channels, taps == 1 ? kSuperDepth : kSuperConvDepth)) {
    auto& blocks = plan.supers.emplace_back();
    for (int line = 0; line < taps; line += together) {
      std::int64_t channel = super_begin;
      for (const std::int64_t depth : cut(super, kBlockDepth)) {
        for (int tap = line; tap < line + together; ++tap) blocks.push_back({tap, channel, depth});
        channel += depth;
      }
    }
    super_begin += super;
  }
  return plan;
}

WeightSource plain_source(const float* data, std::int64_t columns, std::int64_t channels,
                          int taps) {
  WeightSource source{data, channels, taps, channels * taps, {}};
  for (std::int64_t c = 0; c < columns; ++c) source.order.push_back(c);
  return source;
}

WeightSource gated_source(const float* data, std::int64_t inner, std::int64_t channels,
                          std::int64_t half) {
  WeightSource source{data, channels, 1, channels, {}};
  for (std::int64_t begin = 0; begin < inner; begin += half) {
    for (const std::int64_t first : {begin, inner + begin}) {
      for (std::int64_t c = 0; c < half; ++c) {
        source.order.push_back(begin + c < inner ? first + c : -1);
      }
    }
  }
  return source;
}

TileWeights pack_tiles(const WeightSource& source, int threads) {
  TileWeights weights;
  weights.plan = plan_depth(source.channels, source.taps);
  weights.columns = static_cast<std::int64_t>(source.order.size());
  weights.data = Tensor(heap(), DType::kBF16, {weights.panels() * weights.panel_size()});
  auto* data = weights.data.view().as<Bf16>();
  // One tile: 16 pairs of depth, each pair side by side for 16 columns.
  const auto pack_tile = [&](const DepthBlock& block, std::int64_t k, std::int64_t column,
                             Bf16* to) {
    for (std::int64_t c = 0; c < kTileColumns; ++c) {
      const std::int64_t stored =
          column + c < weights.columns ? source.order[static_cast<std::size_t>(column + c)] : -1;
      const float* from = source.data + stored * source.column_stride + block.tap +
                          (block.channel + k) * source.taps;
      for (std::int64_t i = 0; i < kTileDepth; ++i) {
        to[i / 2 * 2 * kTileColumns + 2 * c + i % 2] =
            stored < 0 ? Bf16{0} : round_to_bf16(from[i * source.taps]);
      }
    }
  };
  parallel_for(threads, weights.panels(), [&](std::int64_t p, int) {
    Bf16* to = data + p * weights.panel_size();
    for (const auto& super : weights.plan.supers) {
      for (const DepthBlock& block : super) {
        for (std::int64_t k = 0; k < block.depth; k += kTileDepth) {
          for (std::int64_t half = 0; half < 2; ++half, to += kTileDepth * kTileColumns) {
            pack_tile(block, k, p * kPanelColumns + half * kTileColumns, to);
          }
        }
      }
    }
  });
  return weights;
}

}  // namespace seamwright::model::cpu

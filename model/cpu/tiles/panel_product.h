// The blocks of a chunk's product in an order that keeps what is read again near.
// Threads: pure functions; each thread needs a TileSession.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "model/cpu/panel_groups.h"
#include "model/cpu/tiles/tile_kernels.h"
#include "model/cpu/tiles/tile_weights.h"

namespace seamwright::model::cpu {

// Up to 32 rows of a chunk: row r begins at element offset + r * stride of the input. Readable up
// to the next multiple of 16 rows.
struct RowBlock {
  std::int64_t offset = 0, rows = 0;
};

// A super-block's rows, and which parts of them it sums, in the plan's order.
struct PanelInput {
  const Bf16* data = nullptr;
  std::int64_t stride = 0;
  std::vector<TileRun> runs;
};

// Panels that are multiplied with a block of rows before the next block's turn: where rows are
// short they stay in the first-level cache and as many panels as these stay in the second.
std::int64_t panels_per_pass(const TileWeights& weights);

// Floats of sums for a group of `panels` and that many blocks of rows.
std::int64_t group_sums(const TileWeights& weights, std::int64_t blocks, std::int64_t panels);

// Of a panel: where a super-block's part begins, in elements, and how many there are.
struct PanelPart {
  std::int64_t begin = 0, size = 0;
};
PanelPart panel_part(const TileWeights& weights, std::size_t super);

// What to fetch while panels before `next` are multiplied in so many products: panels after them.
TileFetch fetch_panels(const TileWeights& weights, const PanelPart& part, std::int64_t next,
                       std::int64_t count, std::int64_t products);
// Where results of the next block go, so that they are there when they are added to or written:
// `panels` of them, in as many products of `steps` steps, of which this is number `turn`.
void fetch_results(const TileResult& next, std::int64_t panels, std::int64_t turn,
                   TileProduct& product);

// The rows of the next block, likewise.
void fetch_rows(const PanelInput& rows, const RowBlock& next, std::int64_t turn, std::int64_t turns,
                TileProduct& product);

// All panels of a group against all blocks, super-blocks added up in order. `input(super)` gives
// the rows and is asked once for each; result(block, panel) says where sums go. `ahead`: rows and
// results lie one after another in memory, and the next ones are fetched meanwhile.
template <class Input, class Result>
void multiply_group(const TileWeights& weights, const PanelGroups& groups, std::int64_t group,
                    const std::vector<RowBlock>& blocks, bool ahead, float* c, const Input& input,
                    const Result& result) {
  const std::size_t supers = weights.plan.supers.size();
  const std::int64_t begin = groups.begin(group), end = groups.end(group);
  const std::int64_t pass = panels_per_pass(weights);
  const auto block_count = static_cast<std::int64_t>(blocks.size());
  TileResult before;
  std::int64_t turn = 0;
  for (std::size_t super = 0; super < supers; ++super) {
    const PanelInput& rows = input(super);
    const PanelPart part = panel_part(weights, super);
    TileProduct product;
    product.a_stride = rows.stride;
    product.runs = rows.runs.data();
    product.run_count = static_cast<std::int64_t>(rows.runs.size());
    product.steps = part.size / (32 * kPanelColumns);
    product.add = super > 0;
    for (std::int64_t first = begin; first < end; first += pass) {
      const std::int64_t last = std::min(first + pass, end);
      product.columns = fetch_panels(weights, part, last, std::min(last + pass, end) - last,
                                     block_count * (last - first));
      for (std::int64_t b = 0; b < block_count; ++b) {
        const RowBlock& block = blocks[static_cast<std::size_t>(b)];
        product.a = rows.data + block.offset;
        product.rows = block.rows;
        for (std::int64_t p = first; p < last; ++p) {
          const std::int64_t at = supers == 1 ? turn++ % 2 : (p - begin) * block_count + b;
          product.c = c + at * kBlockSums;
          product.b = weights.panel(p) + part.begin;
          product.next_rows = product.next_results = product.next_residuals = TileFetch{};
          if (ahead && b + 1 < block_count) {
            if (first == begin)
              fetch_rows(rows, blocks[static_cast<std::size_t>(b) + 1], p - first, last - first,
                         product);
            if (super + 1 == supers) {
              fetch_results(result(b + 1, first), last - first, p - first, product);
            }
          }
          multiply_tiles(product, before);
          before = TileResult{};
          if (super + 1 == supers) {
            before = result(b, p);
            before.c = product.c;
          }
          product.columns.from = static_cast<const Bf16*>(product.columns.from) +
                                 product.columns.lines * product.steps * 32;
        }
      }
    }
  }
  if (before.count > 0) store_tiles(before);
}

}  // namespace seamwright::model::cpu

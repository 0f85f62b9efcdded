// One panel of a chunk's product: the blocks of a super-block, added up in the plan's order.
// Threads: pure functions; each thread needs a TileSession.
#pragma once

#include <cstdint>
#include <vector>

#include "model/cpu/panel_groups.h"
#include "model/cpu/tiles/tile_kernels.h"
#include "model/cpu/tiles/tile_weights.h"

namespace seamwright::model::cpu {

// A chunk's rows. Row r of tap t begins at data + r * stride + tap_offsets[t]; channel
// `first_channel` is its first. Readable up to the next multiple of 16 rows.
struct PanelInput {
  const Bf16* data = nullptr;
  std::int64_t stride = 0, rows = 0, first_channel = 0;
  std::vector<std::int64_t> tap_offsets = {0};
  // Rows that come next, `next_lines` lines of them for every panel: fetched on the way.
  const Bf16* next = nullptr;
  std::int64_t next_lines = 0;
};

// What a panel's product fetches on the way: where its result goes.
struct PanelTarget {
  const Bf16 *y = nullptr, *residual = nullptr;
  std::int64_t y_stride = 0;
};

// Floats of c for a group: one panel's sums, or all panels' where there are several super-blocks.
std::int64_t group_sums(const TileWeights& weights, std::int64_t rows, std::int64_t panels);

// c[rows][32] (+)= the super-block's part of panel `panel`; adds but for the first super-block.
void multiply_panel(const TileWeights& weights, std::size_t super, std::int64_t panel,
                    const PanelInput& input, const PanelTarget& target, float* c);

// For every panel of a group in turn, all super-blocks added up: finish(panel, c). `input(super)`
// gives the rows of a super-block and is asked once for each; target(panel) where a result goes.
template <class Input, class Target, class Finish>
void multiply_group(const TileWeights& weights, const PanelGroups& groups, std::int64_t group,
                    float* c, const Input& input, const Target& target, const Finish& finish) {
  const std::size_t supers = weights.plan.supers.size();
  for (std::size_t super = 0; super < supers; ++super) {
    const PanelInput& rows = input(super);
    const std::int64_t panel_sums = group_sums(weights, rows.rows, 1);
    for (std::int64_t p = groups.begin(group); p < groups.end(group); ++p) {
      float* at = supers == 1 ? c : c + (p - groups.begin(group)) * panel_sums;
      multiply_panel(weights, super, p, rows,
                     super + 1 == supers ? target(p) : PanelTarget{}, at);
      if (super + 1 == supers) finish(p, at);
    }
  }
}

}  // namespace seamwright::model::cpu

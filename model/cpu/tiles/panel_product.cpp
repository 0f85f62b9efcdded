#include "model/cpu/tiles/panel_product.h"

#include <algorithm>

#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

// Elements before a super-block within a panel.
std::int64_t depth_before(const DepthPlan& plan, std::size_t super) {
  std::int64_t depth = 0;
  for (std::size_t s = 0; s < super; ++s) {
    for (const auto& block : plan.supers[s]) depth += block.depth;
  }
  return depth;
}

}  // namespace

std::int64_t group_sums(const TileWeights& weights, std::int64_t rows, std::int64_t panels) {
  const std::int64_t each = ceil_div(rows, kTileRows) * kTileRows * kPanelColumns;
  return weights.plan.supers.size() == 1 ? each : each * panels;
}

void multiply_panel(const TileWeights& weights, std::size_t super, std::int64_t panel,
                    const PanelInput& input, const PanelTarget& target, float* c) {
  const auto& blocks = weights.plan.supers[super];
  const std::int64_t before = depth_before(weights.plan, super) * kPanelColumns;
  const Bf16* b = weights.panel(panel) + before;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const DepthBlock& block = blocks[i];
    TileProduct product;
    product.a = input.data + input.tap_offsets[static_cast<std::size_t>(block.tap)] +
                (block.channel - input.first_channel);
    product.a_stride = input.stride;
    product.rows = input.rows;
    product.depth = block.depth;
    product.b = b;
    product.c = c;
    product.add = super > 0 || i > 0;
    b += block.depth * kPanelColumns;
    const bool last = i + 1 == blocks.size();
    product.next_b = !last                         ? b
                     : panel + 1 < weights.panels() ? weights.panel(panel + 1) + before
                                                    : nullptr;
    if (i == 0) {
      product.next_a = input.next + panel * input.next_lines * 32;
      product.next_lines = input.next_lines;
      product.y = target.y;
      product.residual = target.residual;
      product.y_stride = target.y_stride;
    }
    multiply_tiles(product);
  }
}

}  // namespace seamwright::model::cpu

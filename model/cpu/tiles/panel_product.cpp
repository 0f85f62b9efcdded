#include "model/cpu/tiles/panel_product.h"

#include <algorithm>

#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

// Rows of up to 640 elements: 32 of them and a panel's tiles share the first-level cache. Panels of
// a pass take a quarter of the second-level cache.
constexpr std::int64_t kShortRows = 640, kPassBytes = 512 << 10;
// Weights up to this size stay in the second-level cache once they were read.
constexpr std::size_t kSmallWeights = 1 << 20;
constexpr std::int64_t kLineElements = 32, kLineBytes = 64;

}  // namespace

std::int64_t panels_per_pass(const TileWeights& weights) {
  if (weights.plan.depth() > kShortRows) return 1;
  return std::max<std::int64_t>(1, kPassBytes / (weights.panel_size() * 2));
}

std::int64_t group_sums(const TileWeights& weights, std::int64_t blocks, std::int64_t panels) {
  return weights.plan.supers.size() == 1 ? 2 * kBlockSums : blocks * panels * kBlockSums;
}

PanelPart panel_part(const TileWeights& weights, std::size_t super) {
  PanelPart part;
  for (std::size_t s = 0; s <= super; ++s) {
    part.begin += part.size;
    part.size = 0;
    for (const auto& block : weights.plan.supers[s]) part.size += block.depth * kPanelColumns;
  }
  return part;
}

TileFetch fetch_panels(const TileWeights& weights, const PanelPart& part, std::int64_t next,
                       std::int64_t count, std::int64_t products) {
  if (count <= 0 || weights.bytes() <= kSmallWeights) return {};
  // Panels lie one after another; of several super-blocks only the first panel's part is fetched.
  const std::int64_t elements =
      weights.plan.supers.size() == 1 ? count * weights.panel_size() : part.size;
  const std::int64_t steps = products * (part.size / (32 * kPanelColumns));
  TileFetch fetch;
  fetch.from = weights.panel(next) + part.begin;
  fetch.lines = ceil_div(elements / kLineElements, steps);
  return fetch;
}

void fetch_results(const TileResult& next, std::int64_t panels, std::int64_t turn,
                   TileProduct& product) {
  const std::int64_t first = next.count * turn / panels, last = next.count * (turn + 1) / panels;
  if (first == last) return;
  TileFetch fetch;
  fetch.run =
      std::max<std::int64_t>(1, ceil_div(next.columns * panels * next.element_bytes(), kLineBytes));
  fetch.stride = next.y_stride * next.element_bytes();
  fetch.lines = ceil_div((last - first) * fetch.run, product.steps);
  fetch.from = static_cast<const char*>(next.y) + first * fetch.stride;
  product.next_results = fetch;
  if (next.residual == nullptr) return;
  fetch.from = static_cast<const char*>(next.residual) + first * fetch.stride;
  product.next_residuals = fetch;
}

void fetch_rows(const PanelInput& rows, const RowBlock& next, std::int64_t turn, std::int64_t turns,
                TileProduct& product) {
  const std::int64_t lines = next.rows * rows.stride / kLineElements;
  const std::int64_t first = lines * turn / turns, last = lines * (turn + 1) / turns;
  product.next_rows.from = rows.data + next.offset + first * kLineElements;
  product.next_rows.lines = ceil_div(last - first, product.steps);
}

}  // namespace seamwright::model::cpu

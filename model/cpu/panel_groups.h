// How a product of rows and panels of weights is cut into chunks. It changes no bit of a result.
// Threads: values; safe anywhere.
#pragma once

#include <algorithm>
#include <cstdint>

#include "model/cpu/ceil_div.h"

namespace seamwright::model::cpu {

// Rows that one chunk multiplies with every panel: enough that weights stream slower than they are
// used, few enough for the second-level cache.
inline constexpr std::int64_t kChunkRows = 256;

// Columns are shared out in groups of panels where rows alone give few chunks.
struct PanelGroups {
  static constexpr std::int64_t kWantedChunks = 16, kLeastPanels = 4;

  std::int64_t panels = 0, per_group = 0, count = 0;

  // most: no group has more panels.
  PanelGroups(std::int64_t all, std::int64_t row_chunks, std::int64_t most = INT64_MAX)
      : panels(all) {
    const std::int64_t groups = std::max<std::int64_t>(1, panels / kLeastPanels);
    const std::int64_t wanted =
        std::clamp(ceil_div(kWantedChunks, row_chunks), std::int64_t{1}, groups);
    per_group = std::min(ceil_div(panels, wanted), most);
    count = ceil_div(panels, per_group);
  }

  // The same, but for few blocks of rows groups that the threads share evenly: with three groups of
  // one block, one of two threads would stand idle while the other does the third.
  PanelGroups(std::int64_t all, std::int64_t row_chunks, int threads, std::int64_t most)
      : PanelGroups(all, row_chunks, most) {
    if (row_chunks >= 2 * threads) return;
    // In quarters of a panel: a chunk costs one more, because
    // its first panel was not fetched ahead.
    std::int64_t least = INT64_MAX;
    for (std::int64_t size = std::min(panels, most); size > 0; --size) {
      const std::int64_t turns = ceil_div(row_chunks * ceil_div(panels, size), threads);
      if (turns * (4 * size + 1) >= least) continue;
      least = turns * (4 * size + 1);
      per_group = size;
    }
    count = ceil_div(panels, per_group);
  }
  std::int64_t begin(std::int64_t group) const { return group * per_group; }
  std::int64_t end(std::int64_t group) const { return std::min(begin(group) + per_group, panels); }
};

}  // namespace seamwright::model::cpu

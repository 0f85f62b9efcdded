#include "scheduling/decode_spread.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace seamwright::scheduling {

DecodeSpread::DecodeSpread(const PlanRequest& request, const Layout& layout, const CostTable& costs,
                           int first_chunk, std::function<int(int)> group_of_frame,
                           const std::vector<double>& last_step_s)
    : request_(request),
      layout_(layout),
      group_of_frame_(std::move(group_of_frame)),
      all_ranks_(!last_step_s.empty()),
      denoise_s_(static_cast<std::size_t>(layout.ranks()), 0.0),
      load_s_(last_step_s),
      first_(first_chunk) {
  load_s_.resize(static_cast<std::size_t>(layout.ranks()), 0.0);
  const int advance = request.windows.window - request.windows.overlap;
  const double windows_per_chunk = static_cast<double>(request.decode_frames) / advance;
  const double visits_per_chunk =
      windows_per_chunk * request.steps * request.branches * request.rounds;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    decode_s_.push_back(costs.decode_frame_s * request.decode_frames / costs.speed(rank));
  }
  if (all_ranks_) return;
  for (int group = 0; group < layout.groups; ++group) {
    for (int visit = 0; visit < layout.visits(); ++visit) {
      const int rank = layout.rank_of(group, visit);
      denoise_s_[static_cast<std::size_t>(rank)] +=
          visits_per_chunk * costs.visit_s[static_cast<std::size_t>(visit)] / costs.speed(rank);
    }
  }
}

int DecodeSpread::frame_count(int chunk) const {
  return std::min(request_.decode_frames, request_.windows.frames - first_frame(chunk));
}

int DecodeSpread::rank(int chunk) {
  ensure(chunk >= first_, "chunk {} was forgotten", chunk);
  while (first_ + static_cast<int>(ranks_.size()) <= chunk) {
    const int next = first_ + static_cast<int>(ranks_.size());
    // Of its middle: most of its frames lie there, and no group
    // decodes all that its last frames touch.
    const int middle = first_frame(next) + frame_count(next) / 2;
    const int home = all_ranks_ ? 0 : layout_.home_rank(group_of_frame_(middle));
    const int end = all_ranks_ ? layout_.ranks() : home + layout_.stages;
    int best = home;
    for (int rank = home; rank < end; ++rank) {
      const auto r = static_cast<std::size_t>(rank);
      const auto b = static_cast<std::size_t>(best);
      load_s_[r] += denoise_s_[r];
      if (load_s_[r] + decode_s_[r] < load_s_[b] + decode_s_[b]) best = rank;
    }
    // Free decoding still goes round, so that no rank moves all the frames.
    load_s_[static_cast<std::size_t>(best)] +=
        std::max(decode_s_[static_cast<std::size_t>(best)], 1e-9);
    ranks_.push_back(best);
  }
  return ranks_[static_cast<std::size_t>(chunk - first_)];
}

void DecodeSpread::forget_before(int chunk) {
  while (first_ < chunk && !ranks_.empty()) {
    ranks_.pop_front();
    ++first_;
  }
}

}  // namespace seamwright::scheduling

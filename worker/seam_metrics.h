// How visible the windows' edges are in a finished video, measured frame by frame as it is made
// (formulas: docs/quality.md). Memory does not grow with length.
// Threads: one thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <vector>

namespace seamwright::worker {

// Pairs (s-1, s) and (e-1, e) for the start s and the end e of every window inside the video.
// `starts` and `ends` are the first frames of windows and the frames after their last.
class SeamMetrics {
 public:
  SeamMetrics(std::int64_t frames, std::vector<std::int64_t> starts,
              std::vector<std::int64_t> ends);

  // Frames in order, RGB8.
  void add(std::span<const std::uint8_t> rgb);

  // Mean absolute difference at boundary pairs over the same at all other pairs; 1 is "no seam".
  // NaN without boundary pairs or without motion.
  double seam_ratio() const;
  // The same on second differences, which see a kink that first differences miss.
  double seam_ratio_second() const;
  // Mean absolute difference of neighbouring frames, in grey levels: a frozen video has none.
  double mean_motion() const;
  std::int64_t boundary_pairs() const { return boundary_[0].count; }

  // The sums so far, and going on from them at the frame after: the pair across that gap is not
  // measured, since the frame before it is gone.
  nlohmann::json state() const;
  void restore(const nlohmann::json& state);

 private:
  struct Sum {
    double total = 0;
    std::int64_t count = 0;
    double mean() const;
  };
  bool is_boundary(std::int64_t later_frame) const;

  std::vector<std::int64_t> edges_;  // ascending: t where (t-1, t) is a boundary pair
  std::int64_t next_ = 0;
  std::vector<std::uint8_t> last_, before_last_;
  Sum boundary_[2], other_[2];  // first and second differences
};

nlohmann::json to_json(const SeamMetrics& metrics);

}  // namespace seamwright::worker

#include "worker/seam_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace seamwright::worker {
namespace {

std::vector<std::uint8_t> grey(int value) {
  return std::vector<std::uint8_t>(12, static_cast<std::uint8_t>(value));
}

TEST(SeamMetrics, SteadyMotionHasRatioOne) {
  SeamMetrics m(12, {0, 4, 8}, {8, 12});
  for (int t = 0; t < 12; ++t) m.add(grey(10 * t));
  EXPECT_DOUBLE_EQ(m.seam_ratio(), 1.0);
  EXPECT_DOUBLE_EQ(m.mean_motion(), 10.0);
  EXPECT_EQ(m.boundary_pairs(), 2);  // (3,4) and (7,8): the ends of the video are no boundaries
}

TEST(SeamMetrics, AJumpAtAWindowStartRaisesTheRatio) {
  SeamMetrics m(8, {0, 4}, {8});
  for (int t = 0; t < 8; ++t) m.add(grey(2 * t + (t >= 4 ? 20 : 0)));
  EXPECT_DOUBLE_EQ(m.seam_ratio(), 11.0);
}

TEST(SeamMetrics, SecondDifferencesSeeAKinkThatFirstOnesMiss) {
  SeamMetrics m(9, {0, 4}, {9});
  const int path[] = {0, 5, 10, 15, 20, 15, 10, 5, 0};  // equal steps, turning at frame 4
  for (int v : path) m.add(grey(v));
  EXPECT_DOUBLE_EQ(m.seam_ratio(), 1.0);
  EXPECT_TRUE(std::isnan(m.seam_ratio_second()) || m.seam_ratio_second() > 1.0);
}

TEST(SeamMetrics, AFrozenVideoHasNoRatioAndNoMotion) {
  SeamMetrics m(6, {0, 3}, {6});
  for (int t = 0; t < 6; ++t) m.add(grey(7));
  EXPECT_TRUE(std::isnan(m.seam_ratio()));
  EXPECT_EQ(m.mean_motion(), 0.0);
}

}  // namespace
}  // namespace seamwright::worker

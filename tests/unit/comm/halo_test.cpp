#include "comm/halo.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace seamwright::comm {
namespace {

std::vector<int> run_of(int first, int count) {
  std::vector<int> frames(static_cast<std::size_t>(count));
  std::iota(frames.begin(), frames.end(), first);
  return frames;
}

TEST(Halo, SendsTheSharedFramesOfNeighbouringWindowsBothWays) {
  const std::vector<HaloWindow> windows = {{run_of(0, 16), 0}, {run_of(12, 16), 1}};
  EXPECT_EQ(find_halos(windows),
            (std::vector<Halo>{{0, 1, {12, 13, 14, 15}}, {1, 0, {0, 1, 2, 3}}}));
  EXPECT_EQ(halo_bytes(find_halos(windows)[0], 65536), 262144U);  // 262 KB at 512x512
}

TEST(Halo, SendsNothingInsideARank) {
  const std::vector<HaloWindow> windows = {{run_of(0, 8), 2}, {run_of(4, 8), 2}};
  EXPECT_TRUE(find_halos(windows).empty());
}

TEST(Halo, SendsAFrameOnceToARankThatNeedsItTwice) {
  // Three windows over frame 6: the last two on one rank.
  const std::vector<HaloWindow> windows = {{run_of(0, 8), 0}, {run_of(4, 8), 1}, {run_of(6, 8), 1}};
  EXPECT_EQ(find_halos(windows),
            (std::vector<Halo>{{0, 1, {4, 5, 6, 7}}, {1, 0, {0, 1, 2, 3}}, {2, 0, {0, 1}}}));
}

TEST(Halo, ReachesNeighboursBeyondTheNext) {
  const std::vector<HaloWindow> windows = {{run_of(0, 8), 0}, {run_of(4, 8), 1}, {run_of(6, 8), 2}};
  EXPECT_EQ(find_neighbours(windows, 0), (std::vector<int>{1, 2}));
  EXPECT_EQ(find_neighbours(windows, 2), (std::vector<int>{0, 1}));
  EXPECT_EQ(find_halos(windows).size(), 6U);
}

TEST(Halo, HandlesStridedWindowsAndRepeatedFrames) {
  const std::vector<HaloWindow> windows = {{{0, 2, 4, 6}, 0}, {{5, 6, 0, 0}, 1}};
  EXPECT_EQ(find_halos(windows), (std::vector<Halo>{{0, 1, {0, 3}}, {1, 0, {1, 2, 3}}}));
}

TEST(Halo, UnpackingWhatWasPackedRestoresTheFrames) {
  std::vector<std::byte> frames(5 * 3);
  for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = static_cast<std::byte>(i);
  const std::vector<int> positions = {3, 1};
  std::vector<std::byte> packed(6);
  pack_frames(frames, 3, positions, packed);
  EXPECT_EQ(packed, (std::vector<std::byte>{std::byte{9}, std::byte{10}, std::byte{11},
                                            std::byte{3}, std::byte{4}, std::byte{5}}));
  std::vector<std::byte> other(5 * 3, std::byte{99});
  unpack_frames(packed, 3, positions, other);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const bool moved = i / 3 == 3 || i / 3 == 1;
    EXPECT_EQ(other[i], moved ? frames[i] : std::byte{99}) << i;
  }
}

TEST(Halo, RefusesPositionsAndSizesThatDoNotFit) {
  std::vector<std::byte> frames(12);
  std::vector<std::byte> packed(4);
  const std::vector<int> outside = {3};
  const std::vector<int> two = {0, 1};
  EXPECT_THROW(pack_frames(frames, 4, outside, packed), Error);
  EXPECT_THROW(pack_frames(frames, 4, two, packed), Error);
  EXPECT_THROW(unpack_frames(packed, 5, {}, frames), Error);
}

}  // namespace
}  // namespace seamwright::comm

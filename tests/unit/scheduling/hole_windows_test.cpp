#include "scheduling/hole_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "scheduling/needs.h"

namespace seamwright::scheduling {
namespace {

using ::testing::ElementsAre;

// A video of which the ranges are missing.
WindowRequest request(int frames, int window, int overlap, const std::vector<FrameRange>& missing) {
  WindowRequest r;
  r.frames = frames;
  r.window = window;
  r.overlap = overlap;
  r.given.assign(static_cast<std::size_t>(frames), true);
  r.around_holes = true;
  for (const auto& range : missing) {
    std::fill(r.given.begin() + range.begin, r.given.begin() + range.end, false);
  }
  return r;
}

bool idle(const WindowRequest& r, const FrameRange& window) {
  return std::all_of(r.given.begin() + window.begin, r.given.begin() + window.end,
                     [](bool given) { return given; });
}

std::vector<int> busy_starts(const WindowRequest& r) {
  std::vector<int> starts;
  for (const auto& window : windows_around_holes(r)) {
    if (!idle(r, window)) starts.push_back(window.begin);
  }
  return starts;
}

TEST(HoleWindows, HaveTheHoleInTheirMiddle) {
  // The regular windows begin at 0, 16, 32 ... and would be three.
  EXPECT_THAT(
      windows_around_holes(request(80, 32, 16, {{24, 40}})),
      ElementsAre(FrameRange{0, 8}, FrameRange{8, 40}, FrameRange{24, 56}, FrameRange{56, 80}));
  EXPECT_THAT(busy_starts(request(80, 32, 16, {{27, 35}})), ElementsAre(7, 23));
  EXPECT_THAT(
      windows_around_holes(request(200, 16, 4, {{100, 106}})),
      ElementsAre(FrameRange{0, 16}, FrameRange{16, 32}, FrameRange{32, 48}, FrameRange{48, 64},
                  FrameRange{64, 80}, FrameRange{80, 95}, FrameRange{95, 111}, FrameRange{111, 127},
                  FrameRange{127, 143}, FrameRange{143, 159}, FrameRange{159, 175},
                  FrameRange{175, 191}, FrameRange{191, 200}));
}

TEST(HoleWindows, StayInTheVideo) {
  EXPECT_THAT(busy_starts(request(48, 32, 16, {{2, 6}})), ElementsAre(0));
  EXPECT_THAT(busy_starts(request(48, 32, 16, {{40, 48}})), ElementsAre(16));
}

TEST(HoleWindows, GoOnFromWhatIsKnownLikeTheRegularOnes) {
  // Continued videos, and a first picture.
  EXPECT_THAT(busy_starts(request(48, 32, 16, {{16, 48}})), ElementsAre(0, 16));
  EXPECT_THAT(busy_starts(request(70, 32, 16, {{1, 70}})), ElementsAre(0, 16, 32, 38));
  EXPECT_THAT(busy_starts(request(40, 16, 8, {{8, 40}})), ElementsAre(0, 8, 16, 24));
}

TEST(HoleWindows, ReachAnOverlapBeyondALongHole) {
  // 40 frames, 16 known ones asked on either side: 72, of which 4 windows make 80.
  EXPECT_THAT(busy_starts(request(200, 32, 16, {{80, 120}})), ElementsAre(60, 76, 92, 108));
}

TEST(HoleWindows, AreSharedByHolesThatLieTogether) {
  EXPECT_THAT(busy_starts(request(100, 32, 16, {{40, 46}, {50, 56}})), ElementsAre(24, 40));
  EXPECT_THAT(busy_starts(request(120, 32, 16, {{20, 28}, {58, 66}})), ElementsAre(0, 16, 38, 54));
}

TEST(HoleWindows, AreRegularWhereEverySecondFrameIsMissing) {
  auto r = request(100, 16, 8, {});
  for (std::size_t frame = 1; frame < r.given.size(); frame += 2) r.given[frame] = false;
  EXPECT_THAT(busy_starts(r), ElementsAre(0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 84));
}

TEST(HoleWindows, CoverAllKeepTheirDistanceAndAreNoMoreThanRegularOnes) {
  std::mt19937_64 random(7);
  const auto pick = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  for (int i = 0; i < 3000; ++i) {
    const int window = pick(1, 32);
    auto r = request(window + pick(1, 150), window, pick(0, window - 1), {});
    const int longest = pick(1, 40);
    for (int frame = pick(0, longest); frame < r.frames; frame += pick(1, longest)) {
      for (const int end = std::min(r.frames, frame + pick(1, longest)); frame < end; ++frame) {
        r.given[static_cast<std::size_t>(frame)] = false;
      }
    }
    const auto windows = windows_around_holes(r);
    int covered = 0, busy = 0, last_start = -window;
    for (const auto& w : windows) {
      ASSERT_LE(w.begin, covered) << "case " << i;
      ASSERT_GT(w.end, covered) << "case " << i;
      covered = w.end;
      if (idle(r, w)) {
        ASSERT_LE(w.count(), window) << "case " << i;
        continue;
      }
      ++busy;
      ASSERT_EQ(w.count(), window) << "case " << i;
      if (w.end < r.frames) {
        ASSERT_GE(w.begin - last_start, window - r.overlap) << "case " << i;
      }
      last_start = w.begin;
    }
    ASSERT_EQ(covered, r.frames) << "case " << i;
    const WindowSchedule schedule(r);
    ASSERT_EQ(schedule.window_count(0), static_cast<int>(windows.size()));
    for (int frame = 0; frame < r.frames; ++frame) {
      std::vector<int> ids;
      for (std::size_t id = 0; id < windows.size(); ++id) {
        if (windows[id].begin <= frame && frame < windows[id].end) {
          ids.push_back(static_cast<int>(id));
        }
      }
      ASSERT_EQ(schedule.covering(0, frame), ids) << "case " << i << " frame " << frame;
    }
    ASSERT_EQ(windows_to_denoise(schedule, 3), 3 * busy) << "case " << i;
    auto regular = r;
    regular.given.clear();
    int busy_there = 0;
    for (const auto& w : windows_at_step(regular, 0)) {
      busy_there += idle(r, {w.frames.front(), w.frames.back() + 1}) ? 0 : 1;
    }
    ASSERT_LE(busy, busy_there) << "case " << i;
  }
}

}  // namespace
}  // namespace seamwright::scheduling

#include "scheduling/windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int> starts(const std::vector<Window>& windows) {
  std::vector<int> result;
  for (const auto& window : windows) result.push_back(window.frames.front());
  return result;
}

WindowRequest request(int frames, int window, int overlap,
                      ScheduleKind kind = ScheduleKind::kStatic, int stride = 1) {
  WindowRequest r;
  r.frames = frames;
  r.window = window;
  r.overlap = overlap;
  r.schedule = kind;
  r.stride = stride;
  return r;
}

TEST(StaticWindows, StartEveryAdvanceAndShiftTheLastBack) {
  struct Case {
    int frames, window, overlap;
    std::vector<int> starts;
  };
  const Case cases[] = {
      {1, 16, 4, {0}},
      {16, 16, 4, {0}},
      {17, 16, 4, {0, 1}},
      {28, 16, 4, {0, 12}},
      {40, 16, 4, {0, 12, 24}},
      {43, 16, 4, {0, 12, 24, 27}},
      {43, 16, 8, {0, 8, 16, 24, 27}},
      {10, 4, 0, {0, 4, 6}},
      {5, 2, 1, {0, 1, 2, 3}},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(starts(windows_at_step(request(c.frames, c.window, c.overlap), 3)), c.starts)
        << c.frames << " frames";
  }
}

TEST(StaticWindows, AreShorterThanTheRequestOnlyForAShorterVideo) {
  const auto windows = windows_at_step(request(5, 16, 8), 0);
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_THAT(windows[0].frames, ElementsAre(0, 1, 2, 3, 4));
}

TEST(StaticWindows, ShareTheOverlapAndTheShiftedLastOneMore) {
  const WindowSchedule schedule(request(43, 16, 4));  // 0, 12, 24, 27
  EXPECT_EQ(schedule.shared(0).count(), 0);
  EXPECT_EQ(schedule.shared(1), (FrameRange{12, 16}));
  EXPECT_EQ(schedule.shared(3), (FrameRange{27, 40}));
  const WindowSchedule apart(request(32, 16, 0));
  EXPECT_EQ(apart.shared(1).count(), 0);
}

TEST(StaticWindows, FollowTheirPredecessorUnlessAllTheyShareIsKnown) {
  auto r = request(43, 16, 4);
  EXPECT_FALSE(WindowSchedule(r).follows(0));
  EXPECT_TRUE(WindowSchedule(r).follows(1));
  r.given.assign(43, false);
  std::fill(r.given.begin() + 12, r.given.begin() + 16, true);
  EXPECT_FALSE(WindowSchedule(r).follows(1));
  EXPECT_TRUE(WindowSchedule(r).follows(2));
  r.given[14] = false;
  EXPECT_TRUE(WindowSchedule(r).follows(1));
}

TEST(BitReversal, MirrorsTheBitsOfTheStep) {
  EXPECT_EQ(bit_reversed_fraction(0), 0.0);
  EXPECT_EQ(bit_reversed_fraction(1), 0.5);
  EXPECT_EQ(bit_reversed_fraction(2), 0.25);
  EXPECT_EQ(bit_reversed_fraction(3), 0.75);
  EXPECT_EQ(bit_reversed_fraction(6), 0.375);
}

TEST(LoopedWindows, ShiftByTheBitReversedStepAndWrap) {
  const auto r = request(40, 16, 4, ScheduleKind::kLooped);
  EXPECT_THAT(starts(windows_at_step(r, 0)), ElementsAre(0, 12, 24));
  EXPECT_THAT(starts(windows_at_step(r, 1)), ElementsAre(20, 32, 4));
  EXPECT_THAT(windows_at_step(r, 1)[1].frames,
              ElementsAre(32, 33, 34, 35, 36, 37, 38, 39, 0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(LoopedWindows, RoundHalvesToEven) {
  // 45 * 0.5 = 22.5 starts at 22, 43 * 0.5 = 21.5 at 22: as Python rounds.
  EXPECT_EQ(starts(windows_at_step(request(45, 16, 4, ScheduleKind::kLooped), 1))[0], 22);
  EXPECT_EQ(starts(windows_at_step(request(43, 16, 4, ScheduleKind::kLooped), 1))[0], 22);
}

TEST(LoopedWindows, AddAWindowAcrossTheEndForAClosedLoop) {
  auto r = request(40, 16, 4, ScheduleKind::kLooped);
  r.closed_loop = true;
  EXPECT_THAT(starts(windows_at_step(r, 0)), ElementsAre(0, 12, 24, 36));
}

TEST(LoopedWindows, DilateByPowersOfTwoUpToTheStride) {
  const auto windows = windows_at_step(request(80, 16, 4, ScheduleKind::kLooped, 3), 0);
  EXPECT_THAT(starts(windows), ElementsAre(0, 12, 24, 36, 48, 60, 72, 0, 28, 56, 0, 60));
  EXPECT_EQ(windows[7].frames[1], 2);
  EXPECT_EQ(windows[10].frames[1], 4);
}

TEST(LoopedWindows, LeaveOutDilationsThatWouldHoldFramesTwice) {
  // 15 * 4 frames do not fit into 40.
  EXPECT_THAT(starts(windows_at_step(request(40, 16, 4, ScheduleKind::kLooped, 4), 0)),
              ElementsAre(0, 12, 24, 0, 28));
}

TEST(UniformWindows, MoveWrappingWindowsToTheEndAndFillTheBeginning) {
  const auto windows = windows_at_step(request(40, 16, 4, ScheduleKind::kUniform), 1);
  // Looped: 20, 32, 4. The second wraps: moved to 24; frame 0 is not in the next, so 0 is added.
  EXPECT_THAT(starts(windows), ElementsAre(20, 24, 0, 4));
}

TEST(UniformWindows, DropDuplicates) {
  for (int step = 0; step < 32; ++step) {
    const auto windows = windows_at_step(request(43, 16, 8, ScheduleKind::kUniform, 3), step);
    std::set<std::vector<int>> distinct;
    for (const auto& window : windows) distinct.insert(window.frames);
    EXPECT_EQ(distinct.size(), windows.size()) << "step " << step;
  }
}

TEST(AllSchedules, CoverEveryFrameInRangeAtEveryStep) {
  for (const auto kind : {ScheduleKind::kStatic, ScheduleKind::kUniform, ScheduleKind::kLooped}) {
    for (const int length : {1, 2, 3, 5, 8, 16}) {
      for (int overlap = 0; overlap < length; overlap += 1 + length / 5) {
        for (int frames = 1; frames < 90; frames += 1 + frames / 9) {
          for (int stride = 1; stride <= 4; ++stride) {
            for (int step = 0; step < 9; ++step) {
              const auto r = request(frames, length, overlap, kind, stride);
              std::set<int> seen;
              int id = 0;
              for (const auto& window : windows_at_step(r, step)) {
                EXPECT_EQ(window.id, id++);
                EXPECT_EQ(window.frames.size(), static_cast<std::size_t>(std::min(frames, length)));
                seen.insert(window.frames.begin(), window.frames.end());
              }
              ASSERT_EQ(seen.size(), static_cast<std::size_t>(frames))
                  << to_string(kind) << " F " << frames << " L " << length << " O " << overlap
                  << " stride " << stride << " step " << step;
              ASSERT_EQ(*seen.begin(), 0);
              ASSERT_EQ(*seen.rbegin(), frames - 1);
            }
          }
        }
      }
    }
  }
}

TEST(WindowSchedule, AgreesWithTheListsByIndexAndByFrame) {
  for (const auto kind : {ScheduleKind::kStatic, ScheduleKind::kUniform, ScheduleKind::kLooped}) {
    for (const int overlap : {0, 3, 4, 7}) {
      for (int frames = 1; frames < 40; ++frames) {
        const auto r = request(frames, 8, overlap, kind, 2);
        const WindowSchedule schedule(r);
        for (int step = 0; step < 3; ++step) {
          const auto list = windows_at_step(r, step);
          ASSERT_EQ(schedule.window_count(step), static_cast<int>(list.size()));
          for (const auto& window : list) EXPECT_EQ(schedule.window(step, window.id), window);
          for (int frame = 0; frame < frames; ++frame) {
            std::vector<int> expected;
            for (const auto& window : list) {
              if (std::count(window.frames.begin(), window.frames.end(), frame) > 0) {
                expected.push_back(window.id);
              }
            }
            EXPECT_EQ(schedule.covering(step, frame), expected) << frames << " frame " << frame;
          }
        }
      }
    }
  }
}

TEST(WindowSchedule, NeverEndsForAnEndlessVideo) {
  const WindowSchedule schedule(request(kEndless, 16, 4));
  EXPECT_EQ(schedule.window_count(0), kEndless);
  EXPECT_EQ(schedule.window(0, 1'000'000).frames.front(), 12'000'000);
  EXPECT_THAT(schedule.covering(0, 12'000'000), ElementsAre(999'999, 1'000'000));
}

std::string message_of(const WindowRequest& r) {
  try {
    validate(r);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(WindowRequest, SaysWhatIsWrongAndWhatIsAllowed) {
  EXPECT_THAT(message_of(request(0, 16, 4)), HasSubstr("at least 1 frame"));
  EXPECT_THAT(message_of(request(-3, 16, 4)), HasSubstr("-3"));
  EXPECT_THAT(message_of(request(2'000'000'000, 16, 4)), HasSubstr("at most"));
  EXPECT_THAT(message_of(request(40, 0, 0)), HasSubstr("window is 0"));
  EXPECT_THAT(message_of(request(40, 16, 16)), HasSubstr("from 0 to 15"));
  EXPECT_THAT(message_of(request(40, 16, -1)), HasSubstr("overlap is -1"));
  auto r = request(40, 33, 4);
  r.window_limit = 32;
  EXPECT_THAT(message_of(r), HasSubstr("at most 32"));
  EXPECT_THAT(message_of(request(kEndless, 16, 4, ScheduleKind::kLooped)), HasSubstr("endless"));
  EXPECT_THAT(message_of(request(40, 16, 4, ScheduleKind::kUniform, 0)), HasSubstr("stride"));
  EXPECT_EQ(message_of(request(40, 16, 4)), "accepted");
}

TEST(WindowRequest, ParsesShortAndCommunityNames) {
  EXPECT_EQ(parse_schedule("static"), ScheduleKind::kStatic);
  EXPECT_EQ(parse_schedule("standard_uniform"), ScheduleKind::kUniform);
  EXPECT_EQ(parse_schedule("looped_uniform"), ScheduleKind::kLooped);
  EXPECT_THROW(parse_schedule("batched"), Error);
}

// A scan of every window for every frame would take hours.
TEST(WindowSchedule, FindsTheWindowsOfAFrameInTheLongestListedVideo) {
  const int frames = 1 << 18;
  for (const auto kind : {ScheduleKind::kUniform, ScheduleKind::kLooped}) {
    const WindowSchedule schedule(request(frames, 16, 8, kind));
    std::size_t held = 0;
    for (int frame = 0; frame < frames; ++frame) held += schedule.covering(1, frame).size();
    std::size_t expected = 0;
    for (const auto& window : windows_at_step(schedule.request(), 1)) {
      expected += window.frames.size();
    }
    EXPECT_EQ(held, expected);
  }
}

}  // namespace
}  // namespace seamwright::scheduling

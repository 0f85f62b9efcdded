#include "base/prompt_schedule.h"

#include <gmock/gmock.h>

#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

using ::testing::HasSubstr;

TEST(PromptSchedule, TextWithoutKeyframesIsOnePromptForAllFrames) {
  for (const char* text : {"a red circle", "", "16:9 video of a dog", "a 50 / 50 split", "12 : x",
                           "a hill at 12: noon", "-3: x", "0:a"}) {
    const PromptSchedule schedule = parse_prompt_schedule(text, 10);
    ASSERT_EQ(schedule.keyframes().size(), 1U) << text;
    EXPECT_EQ(schedule.keyframes()[0].prompt, text);
    EXPECT_EQ(schedule.at(9).weight, 0);
  }
}

TEST(PromptSchedule, ReadsKeyframesAndLeavesOtherSlashesAlone) {
  const PromptSchedule schedule = parse_prompt_schedule(
      " 0: a black/white hill, 24/7/ 48:  at night, ratio 3:2\n/96: dawn ", 97);
  ASSERT_EQ(schedule.keyframes().size(), 3U);
  EXPECT_EQ(schedule.keyframes()[0].prompt, "a black/white hill, 24/7");
  EXPECT_EQ(schedule.keyframes()[1].frame, 48);
  EXPECT_EQ(schedule.keyframes()[1].prompt, "at night, ratio 3:2");
  EXPECT_EQ(schedule.keyframes()[2].frame, 96);
  EXPECT_EQ(schedule.keyframes()[2].prompt, "dawn");
}

TEST(PromptSchedule, InterpolatesLinearlyAndHoldsAtBothEnds) {
  const PromptSchedule schedule = parse_prompt_schedule("8: a / 16: b / 20: c", 64);
  const auto expect = [&](std::int64_t frame, std::size_t from, std::size_t to, float weight) {
    const PromptBlend blend = schedule.at(frame);
    EXPECT_EQ(blend.from, from) << frame;
    EXPECT_EQ(blend.to, to) << frame;
    EXPECT_FLOAT_EQ(blend.weight, weight) << frame;
  };
  expect(0, 0, 0, 0);
  expect(8, 0, 0, 0);
  expect(9, 0, 1, 0.125F);
  expect(15, 0, 1, 0.875F);
  expect(16, 1, 1, 0);
  expect(17, 1, 2, 0.25F);
  expect(20, 2, 2, 0);
  expect(63, 2, 2, 0);
}

TEST(PromptSchedule, MistakesAreExplained) {
  const auto message = [](std::string_view text, std::int64_t frames = 64) {
    return std::string(error_of([&] { parse_prompt_schedule(text, frames); }).what());
  };
  EXPECT_THAT(message("0: a / 48 b"), HasSubstr("'48 b' follows one"));
  EXPECT_THAT(message("0: a / -5: b"), HasSubstr("'-5: b'"));
  EXPECT_THAT(message("0: a /"), HasSubstr("begins a keyframe"));
  EXPECT_THAT(message("0: a / 64: b"), HasSubstr("frames 0 to 63"));
  EXPECT_THAT(message("0: a / 99999999999999999999999: b"), HasSubstr("frames 0 to 63"));
  EXPECT_THAT(message("8: a / 8: b"), HasSubstr("8 follows 8"));
  EXPECT_THAT(message("8: a / 4: b"), HasSubstr("4 follows 8"));
  EXPECT_THAT(message("0:  / 4: b"), HasSubstr("keyframe at 0 has no text"));
  EXPECT_THAT(message("0: a / 4: "), HasSubstr("keyframe at 4 has no text"));
  EXPECT_THAT(message("a", 0), HasSubstr("frames is 0"));
}

}  // namespace
}  // namespace seamwright::model

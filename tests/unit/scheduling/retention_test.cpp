// Which records of a causal window may go, beside a successor that follows it and one that does
// not. That no resume lacks a record is the property test's matter (plan_property_test.cpp).
#include "scheduling/retention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace seamwright::scheduling {
namespace {

constexpr int kSteps = 4;

// Windows 0 to 15, 8 to 23, 16 to 31; the first has come to the end, the others have not begun.
PlanRequest causal(std::vector<bool> given = {}) {
  PlanRequest r;
  r.windows.frames = 32;
  r.windows.window = 16;
  r.windows.overlap = 8;
  r.windows.given = std::move(given);
  r.steps = kSteps;
  r.coherence = Coherence::kCausal;
  r.checkpoint_interval = 1;
  return r;
}

// Frames 8 to 15: all that the first two windows share.
PlanRequest with_known_frames() {
  std::vector<bool> given(32);
  std::fill(given.begin() + 8, given.begin() + 16, true);
  return causal(given);
}

// Whether the first window's record of `level` may go, its own frames (0 to 7) published.
bool goes(const PlanRequest& r, int level) {
  DurableView view;
  view.newest = [](int window) { return window == 0 ? kSteps : 0; };
  view.oldest = [level](int window) { return window == 0 ? level : 0; };
  view.first_missing_frame = 8;
  return record_deletable(r, WindowSchedule(r.windows), 0, level, view);
}

TEST(CausalRecords, StayWhileASuccessorMayFollowWhatComesAfterThem) {
  EXPECT_FALSE(goes(causal(), 1));
  EXPECT_FALSE(goes(causal(), kSteps - 1));
  EXPECT_FALSE(goes(causal(), kSteps));
}

TEST(CausalRecords, GoWhenTheSuccessorSharesOnlyKnownFrames) {
  EXPECT_TRUE(goes(with_known_frames(), 1));
  EXPECT_TRUE(goes(with_known_frames(), kSteps - 1));
  EXPECT_TRUE(goes(with_known_frames(), kSteps));
}

TEST(CausalRecords, StayWhileTheWindowsOwnFramesAreNotPublished) {
  const auto r = with_known_frames();
  DurableView view;
  view.newest = [](int window) { return window == 0 ? kSteps : 0; };
  view.oldest = view.newest;
  view.first_missing_frame = 7;
  EXPECT_FALSE(record_deletable(r, WindowSchedule(r.windows), 0, kSteps, view));
}

}  // namespace
}  // namespace seamwright::scheduling

// A pulse beats while its object lives, but not for ever.
#include "worker/pulse.h"

#include <gtest/gtest.h>

#include <atomic>

namespace seamwright::worker {
namespace {

using namespace std::chrono_literals;

TEST(Pulse, BeatsWhileItsObjectLives) {
  std::atomic<int> beats = 0;
  {
    const Pulse pulse([&] { ++beats; }, 1ms, 600s);
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (beats < 3 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
  }
  const int then = beats;
  EXPECT_GE(then, 3);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(beats, then);
}

TEST(Pulse, EndsAfterItsLimit) {
  std::atomic<int> beats = 0;
  const Pulse pulse([&] { ++beats; }, 5ms, 0ms);
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(beats, 0);
}

TEST(Pulse, NeedsNobodyWhoListens) { const Pulse pulse({}, 1ms, 600s); }

}  // namespace
}  // namespace seamwright::worker

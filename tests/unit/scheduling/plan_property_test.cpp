// Thousands of seeded requests and layouts, each walked by ranks without compute.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "scheduling/check.h"
#include "scheduling/planner.h"
#include "tests/unit/scheduling/random_requests.h"
#include "tests/unit/scheduling/virtual_gang.h"

namespace seamwright::scheduling {
namespace {

constexpr std::uint64_t kCases = 2000;

PlanOptions tight_or_loose(std::uint64_t seed) {
  PlanOptions options;
  options.chunk_tasks = 1 + static_cast<int>(seed % 50);
  options.slack_tasks = static_cast<int>(seed % 7) * 3;
  options.activation_slack_tasks = static_cast<int>(seed % 3);
  return options;
}

std::int64_t expected_forwards(const RandomCase& c) {
  std::int64_t windows = 0;
  for (int step = 0; step < c.request.steps; ++step) {
    for (const auto& window : windows_at_step(c.request.windows, step)) {
      // Where every frame is given there is nothing to compute.
      windows += std::all_of(window.frames.begin(), window.frames.end(),
                             [&](int frame) { return c.request.windows.is_given(frame); })
                     ? 0
                     : 1;
    }
  }
  return windows * c.request.branches * c.request.rounds * c.layout.visits();
}

TEST(PlanProperty, AnyLegalExecutionWithZeroBufferSendsGivesThePlainLoopsResult) {
  for (std::uint64_t seed = 0; seed < kCases; ++seed) {
    const auto c = random_case(seed);
    SCOPED_TRACE(fmt::format("seed {}: {}", seed, describe(c)));
    Plan plan;
    GangResult result;
    ASSERT_NO_THROW(plan = make_plan(c.request, c.layout, c.costs, {}, tight_or_loose(seed)));
    ASSERT_NO_THROW(result = VirtualGang(plan, seed).run());
    ASSERT_THAT(check_plan(plan), ::testing::IsEmpty());
    ASSERT_EQ(result.problem, "");
    ASSERT_EQ(result.frames, plain_loop(c.request));
    ASSERT_EQ(result.forwards, expected_forwards(c));
    for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) {
      ASSERT_LE(result.live_bytes_max[rank], plan.live_bytes_max[rank]) << "rank " << rank;
    }
  }
}

// Stops a gang after some tasks, and goes on from what it left in another layout.
TEST(PlanProperty, StoppedAnywhereAndResumedInAnyLayoutNothingIsLost) {
  for (std::uint64_t seed = 0; seed < kCases; ++seed) {
    auto first = random_case(seed);
    auto second = random_case(seed + 1'000'000);
    first.request.checkpoint_interval = static_cast<int>(seed % 4);
    second.request = first.request;
    SCOPED_TRACE(
        fmt::format("seed {}: {} then {}", seed, describe(first), to_string(second.layout)));
    GangResult left;
    GangResult result;
    ResumeState resume;
    std::int64_t stop = 0;
    // Two losses, then to the end.
    for (int attempt = 0; attempt < 3; ++attempt) {
      const auto& c = attempt % 2 == 0 ? first : second;
      Plan plan;
      ASSERT_NO_THROW(
          plan = make_plan(c.request, c.layout, c.costs, resume, tight_or_loose(seed + 1)));
      ASSERT_THAT(check_plan(plan, resume), ::testing::IsEmpty());
      std::int64_t tasks = 0;
      for (const auto& order : plan.ranks) tasks += static_cast<std::int64_t>(order.size());
      stop =
          attempt == 2 ? -1 : static_cast<std::int64_t>((seed * 7919 + 13) % 1000) * tasks / 1000;
      const auto frames_before = result.frames;
      ASSERT_NO_THROW(result = VirtualGang(plan, seed + 2, &left).run(stop));
      ASSERT_EQ(result.problem, "");
      for (const auto& [frame, value] : frames_before) result.frames.emplace(frame, value);
      left = result;
      resume.records = result.durable;
      resume.first_missing_frame = result.first_missing_frame;
    }
    ASSERT_EQ(result.frames, plain_loop(first.request));
  }
}

// Steps of one window that a plan does although they were done before.
std::map<int, int> steps_again(const Plan& plan, const std::set<std::pair<int, int>>& done) {
  std::set<std::pair<int, int>> again;
  for (const auto& order : plan.ranks) {
    for (const auto& planned : order) {
      const std::pair<int, int> step{planned.task.window, planned.task.step};
      if (planned.task.kind == TaskKind::kForward && done.contains(step)) again.insert(step);
    }
  }
  std::map<int, int> count;
  for (const auto& [window, step] : again) ++count[window];
  return count;
}

// Three losses one after the other, in any layouts: each costs every window at most one interval.
TEST(PlanProperty, ALossCostsEveryWindowAtMostOneInterval) {
  std::int64_t losses_that_cost = 0;
  for (std::uint64_t seed = 0; seed < kCases; ++seed) {
    auto c = random_case(seed);
    c.request.checkpoint_interval = 1 + static_cast<int>(seed % 3);
    GangResult left;
    ResumeState resume;
    std::set<std::pair<int, int>> done;
    for (int attempt = 0; attempt < 4; ++attempt) {
      const auto drawn = random_case(seed + 1'000'000 * static_cast<std::uint64_t>(attempt));
      SCOPED_TRACE(fmt::format("seed {}: {}, attempt {} on {}", seed, describe(c), attempt,
                               to_string(drawn.layout)));
      const auto plan = make_plan(c.request, drawn.layout, drawn.costs, resume);
      for (const auto& [window, steps] : steps_again(plan, done)) {
        // In other schedules a window's number says nothing about where it was a step earlier.
        if (c.request.windows.schedule != ScheduleKind::kStatic) break;
        ASSERT_LE(steps, c.request.checkpoint_interval) << "window " << window;
        ++losses_that_cost;
      }
      std::int64_t tasks = 0;
      for (const auto& order : plan.ranks) tasks += static_cast<std::int64_t>(order.size());
      const auto share = static_cast<std::int64_t>((seed * 7919 + 13) % 1000) / (attempt + 1);
      left = VirtualGang(plan, seed, &left).run(share * tasks / 1000);
      ASSERT_EQ(left.problem, "");
      resume = {left.first_missing_frame, left.durable};
      done.insert(left.steps.begin(), left.steps.end());
    }
  }
  EXPECT_GT(losses_that_cost, static_cast<std::int64_t>(kCases));
}

}  // namespace
}  // namespace seamwright::scheduling

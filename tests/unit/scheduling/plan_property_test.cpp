// Thousands of seeded requests and layouts, each walked by ranks without compute.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
    windows += static_cast<std::int64_t>(windows_at_step(c.request.windows, step).size());
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
    SCOPED_TRACE(fmt::format("seed {}: {} then {}", seed, describe(first),
                             to_string(second.layout)));
    GangResult left;
    GangResult result;
    ResumeState resume;
    std::int64_t stop = 0;
    // Two losses, then to the end.
    for (int attempt = 0; attempt < 3; ++attempt) {
      const auto& c = attempt % 2 == 0 ? first : second;
      Plan plan;
      ASSERT_NO_THROW(plan = make_plan(c.request, c.layout, c.costs, resume,
                                       tight_or_loose(seed + 1)));
      ASSERT_THAT(check_plan(plan, resume), ::testing::IsEmpty());
      std::int64_t tasks = 0;
      for (const auto& order : plan.ranks) tasks += static_cast<std::int64_t>(order.size());
      stop = attempt == 2 ? -1 : static_cast<std::int64_t>((seed * 7919 + 13) % 1000) * tasks / 1000;
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

TEST(PlanProperty, ALossCostsAtMostOneIntervalForTheWindowsUnderWay) {
  for (std::uint64_t seed = 0; seed < kCases; ++seed) {
    auto c = random_case(seed);
    c.layout.stages = 1;
    c.layout.folded = false;
    c.costs = uniform_costs(c.layout, 0.05);
    c.request.checkpoint_interval = 1 + static_cast<int>(seed % 2);
    SCOPED_TRACE(fmt::format("seed {}: {}", seed, describe(c)));
    const auto plan = make_plan(c.request, c.layout, c.costs);
    std::int64_t tasks = 0;
    for (const auto& order : plan.ranks) tasks += static_cast<std::int64_t>(order.size());
    const auto stop = static_cast<std::int64_t>((seed * 7919 + 13) % 1000) * tasks / 1000;
    const auto left = VirtualGang(plan, seed).run(stop);
    const ResumeState resume{left.first_missing_frame, left.durable};
    const auto rest = make_plan(c.request, c.layout, c.costs, resume);
    std::int64_t forwards = 0;
    for (const auto& order : rest.ranks) {
      for (const auto& planned : order) forwards += planned.task.kind == TaskKind::kForward;
    }
    std::size_t windows = 0;
    for (int step = 0; step < c.request.steps; ++step) {
      windows = std::max(windows, windows_at_step(c.request.windows, step).size());
    }
    const auto redone = left.forwards + forwards - expected_forwards(c);
    // One interval that was not yet recorded, and one whose records were still on their way.
    EXPECT_LE(redone, static_cast<std::int64_t>(windows) * c.request.branches * c.request.rounds * 2 *
                          c.request.checkpoint_interval);
  }
}

}  // namespace
}  // namespace seamwright::scheduling

// Thousands of seeded requests and layouts, each walked by ranks without compute.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scheduling/check.h"
#include "scheduling/planner.h"
#include "tests/unit/scheduling/random_requests.h"
#include "tests/unit/scheduling/virtual_gang.h"

namespace seamwright::scheduling {
namespace {

constexpr std::uint64_t kCases = 3000;

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

}  // namespace
}  // namespace seamwright::scheduling

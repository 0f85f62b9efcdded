// Measured times become speeds that noise does not move; slow groups get fewer windows, which is
// quicker, and nothing else of the plan's promises changes.
#include "scheduling/measured_costs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "base/error.h"
#include "scheduling/placement.h"
#include "scheduling/planner.h"
#include "scheduling/simulator.h"

namespace seamwright::scheduling {
namespace {

using ::testing::DoubleEq;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

PlanRequest request_of(int windows) {
  PlanRequest request;
  request.windows.window = 16;
  request.windows.overlap = 4;
  request.windows.frames = 16 + (windows - 1) * 12;
  request.steps = 10;
  return request;
}

TEST(MeasuredCosts, RanksWithinATenthAreEquallyFast) {
  const Layout layout{4, 1, false};
  EXPECT_THAT(measured_speeds({{1.00}, {1.09}, {1.05}, {1.02}}, layout), Each(1.0));
  // The plan is then that of equal machines, whatever the clock said.
  CostTable quiet = uniform_costs(layout, 1.0), noisy = quiet;
  apply_measured({{1.0}, {1.0}, {1.0}, {1.0}}, layout, quiet);
  apply_measured({{1.00}, {1.09}, {1.05}, {1.02}}, layout, noisy);
  EXPECT_THAT(noisy.rank_speed, IsEmpty());
  EXPECT_EQ(make_plan(request_of(9), layout, quiet).hash,
            make_plan(request_of(9), layout, noisy).hash);
}

TEST(MeasuredCosts, RanksOfOneClassHaveOneSpeed) {
  const auto speeds = measured_speeds({{1.0}, {2.0}, {2.1}, {1.04}, {4.0}}, {5, 1, false});
  EXPECT_EQ(speeds[0], 1.0);
  EXPECT_EQ(speeds[3], 1.0);
  EXPECT_EQ(speeds[1], speeds[2]);
  EXPECT_NEAR(speeds[1], 1.02 / 2.05, 1e-12);
  EXPECT_NEAR(speeds[4], 1.02 / 4.0, 1e-12);
}

// Stages hold different blocks, so a rank is compared with those of its own stage.
TEST(MeasuredCosts, ComparesRanksThatDoTheSameWork) {
  const Layout layout{2, 2, true};  // visits 0, 1, 2; stage 0 makes the first and the last
  const MeasuredVisits visits{{0.1, 0.2}, {3.0}, {0.2, 0.4}, {3.1}};
  EXPECT_THAT(measured_speeds(visits, layout), ElementsAre(1.0, 1.0, DoubleEq(0.5), 1.0));
  CostTable costs = uniform_costs(layout, 1.0);
  costs.decode_frame_s = 0.5;
  apply_measured(visits, layout, costs);
  EXPECT_THAT(costs.visit_s, ElementsAre(DoubleEq(0.1), DoubleEq(3.05), DoubleEq(0.2)));
  EXPECT_NEAR(costs.decode_frame_s, 0.5 * 3.35, 1e-12);
  EXPECT_THAT(group_speeds(layout, costs), ElementsAre(1.0, DoubleEq(0.5)));
}

TEST(MeasuredCosts, RefusesWhatNoClockGives) {
  const Layout layout{2, 1, false};
  EXPECT_THROW(measured_speeds({{1.0}}, layout), Error);
  EXPECT_THROW(measured_speeds({{1.0}, {1.0, 1.0}}, layout), Error);
  EXPECT_THROW(measured_speeds({{1.0}, {0.0}}, layout), Error);
  EXPECT_THROW(measured_speeds({{1.0}, {std::numeric_limits<double>::quiet_NaN()}}, layout), Error);
}

// No other division of so many windows among so many groups lets the last group end earlier.
TEST(WeightedBlocks, EndAsEarlyAsTheSpeedsAllow) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    const int groups = 2 + static_cast<int>(random() % 2), count = static_cast<int>(random() % 13);
    std::vector<double> speeds;
    for (int g = 0; g < groups; ++g)
      speeds.push_back(0.1 + static_cast<double>(random() % 90) / 100);
    const auto end_of = [&](const std::vector<int>& sizes) {
      double end = 0;
      for (std::size_t g = 0; g < sizes.size(); ++g) end = std::max(end, sizes[g] / speeds[g]);
      return end;
    };
    double best = std::numeric_limits<double>::infinity();
    for (int a = 0; a <= count; ++a) {
      for (int b = 0; a + b <= count; ++b) {
        if (groups == 2 && a + b != count) continue;
        best = std::min(best,
                        end_of(groups == 2 ? std::vector{a, b} : std::vector{a, b, count - a - b}));
      }
    }
    const auto first = weighted_blocks(count, speeds);
    std::vector<int> sizes;
    for (int g = 0; g < groups; ++g) {
      sizes.push_back(first[static_cast<std::size_t>(g) + 1] - first[static_cast<std::size_t>(g)]);
    }
    ASSERT_EQ(first.back(), count);
    EXPECT_NEAR(end_of(sizes), best, 1e-9) << "round " << round;
  }
  EXPECT_THAT(weighted_blocks(7, {1, 1, 1}), ElementsAre(0, 3, 5, 7));  // the first take the rest
}

// Four groups of which one takes twice as long; the simulator knows the true speeds, the planner of
// the counted run does not.
TEST(MeasuredCosts, OneSlowRankCostsItsOwnShareAndNoMore) {
  for (const auto order : {Order::kThroughput, Order::kStreaming}) {
    const Layout layout{4, 1, false};
    PlanRequest request = request_of(28);
    request.order = order;
    const CostTable counted = uniform_costs(layout, 1.0);
    CostTable measured = counted;
    apply_measured({{1.0}, {2.0}, {1.03}, {1.0}}, layout, measured);
    SimulationOptions truth;
    truth.rank_speed = {1.0, 0.5, 1.0, 1.0};
    const auto before = simulate(request, layout, counted, truth);
    const auto after = simulate(request, layout, measured, truth);
    // 28 windows: seven each take 14 of time; eight, four, eight and eight take 8.
    EXPECT_LT(after.makespan_s, 0.65 * before.makespan_s) << to_string(order);
    EXPECT_EQ(after.forwards, before.forwards);
    std::vector<int> windows(4, 0);
    const auto plan = make_plan(request, layout, measured);
    for (const auto& rank : plan.ranks) {
      for (const auto& task : rank) {
        windows[static_cast<std::size_t>(task.rank)] += task.task.kind == TaskKind::kForward;
      }
    }
    EXPECT_EQ(windows[1], 4 * request.steps) << to_string(order);
    EXPECT_THAT(plan.reasons, ::testing::Contains(::testing::HasSubstr("placement: weighted")));
  }
}

}  // namespace
}  // namespace seamwright::scheduling

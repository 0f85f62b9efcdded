// The scaling figures of the design, in exact simulated time.
#include "scheduling/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

PlanRequest scaling_request(int windows, int branches = 1) {
  PlanRequest r;
  r.windows.window = 16;
  r.windows.overlap = 4;
  r.windows.frames = 12 * windows + 4;
  r.steps = 20;
  r.branches = branches;
  return r;
}

double efficiency(const PlanRequest& request, const Layout& layout,
                  const SimulationOptions& options = {}) {
  return simulate(request, layout, uniform_costs(layout, 0.05), options).efficiency;
}

TEST(Scaling, SixtyFourGroupsOfTwoWindowsStayBusy) {
  EXPECT_GE(efficiency(scaling_request(128), {64, 1, false}), 0.98);
}

TEST(Scaling, JitterCostsFarLessThanBehindABarrier) {
  const Layout layout{64, 1, false};
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.task_jitter = 0.2;
    const auto costs = uniform_costs(layout, 0.05);
    const auto run = simulate(scaling_request(128), layout, costs, options);
    const double barrier =
        run.compute_s / (64 * barrier_makespan_s(scaling_request(128), layout, costs, options));
    EXPECT_GE(run.efficiency, 0.92) << "seed " << seed;
    EXPECT_GE(run.efficiency, barrier + 0.08) << "seed " << seed << ", barrier " << barrier;
    EXPECT_LE(barrier, 0.90) << "a barrier at this jitter must show";
  }
}

TEST(Scaling, FourPipelinesOfFourStagesNeedFiveWindowsEachWithoutGuidanceThreeWith) {
  const Layout layout{4, 4, false};
  EXPECT_GE(efficiency(scaling_request(5 * 4, 1), layout), 0.95);
  EXPECT_GE(efficiency(scaling_request(3 * 4, 2), layout), 0.95);
  EXPECT_LT(efficiency(scaling_request(3 * 4, 1), layout), 0.80);
}

TEST(Scaling, OnePipelineOfFourStagesNeedsOneWindowMore) {
  const Layout layout{1, 4, false};
  EXPECT_GE(efficiency(scaling_request(6, 1), layout), 0.95);
  EXPECT_GE(efficiency(scaling_request(4, 2), layout), 0.95);
}

// The planner does not know it: a megabyte over each cut at 2 GB/s.
TEST(Scaling, StagesStayBusyWhileTheirActivationsTravel) {
  SimulationOptions truth;
  truth.link = LinkCost{2e-4, 2e9};
  const auto efficiency = [&truth](int windows, int branches, const Layout& layout,
                                   const PlanOptions& options) {
    auto costs = uniform_costs(layout, 0.05);
    for (auto& bytes : costs.sizes.cut_bytes) bytes = 1 << 20;
    return simulate(scaling_request(windows * layout.groups, branches), layout, costs, truth,
                    options)
        .efficiency;
  };
  PlanOptions exact;
  exact.activation_margin = 0;
  EXPECT_GE(efficiency(5, 1, {4, 4, false}, {}), 0.95);
  EXPECT_LE(efficiency(5, 1, {4, 4, false}, exact), 0.90) << "what the margin is for";
  EXPECT_GE(efficiency(3, 2, {4, 4, false}, {}), 0.94);
  EXPECT_GE(efficiency(8, 2, {4, 4, true}, {}), 0.97);
  EXPECT_GE(efficiency(6, 1, {1, 4, false}, {}), 0.96);
}

TEST(Scaling, FoldedStagesStayBusyWithEnoughWindows) {
  EXPECT_GE(efficiency(scaling_request(8 * 4, 2), {4, 4, true}), 0.90);
}

TEST(Scaling, WeightedPlacementGivesFastGroupsMore) {
  const Layout layout{4, 1, false};
  auto costs = uniform_costs(layout, 0.05);
  const auto request = scaling_request(35);
  SimulationOptions truth;
  truth.rank_speed = {1.0, 1.0, 1.0, 0.5};
  const auto blind = simulate(request, layout, costs, truth);
  costs.rank_speed = truth.rank_speed;
  const auto weighted = simulate(request, layout, costs, {});
  EXPECT_LT(weighted.makespan_s, 0.75 * blind.makespan_s);
}

TEST(Streaming, CyclicPlacementBringsTheFirstFramesEarly) {
  const Layout layout{16, 1, false};
  const auto costs = uniform_costs(layout, 0.05);
  auto request = scaling_request(160);
  request.steps = 25;
  request.order = Order::kStreaming;
  const auto streaming = simulate(request, layout, costs);
  request.order = Order::kThroughput;
  const auto throughput = simulate(request, layout, costs);
  EXPECT_LE(streaming.first_output_s, 2.6);    // the design says 2.5 s
  EXPECT_GE(throughput.first_output_s, 10.0);  // and 10 s with block placement
  EXPECT_GE(streaming.efficiency, 0.90);
}

TEST(Simulator, CountsTrafficAsTheBoundariesPredict) {
  // Two groups, one boundary: 4 shared frames each way and step, after the last step one way.
  const Layout layout{2, 1, false};
  auto request = scaling_request(4);
  request.steps = 5;
  const auto run = simulate(request, layout, uniform_costs(layout, 0.05));
  const auto bytes = run.traffic.at(DataKind::kPrediction).bytes;
  EXPECT_EQ(bytes, (4 * 2 + 1) * 4 * (4 * 64 * 64 * 4));
}

TEST(Simulator, AStragglerSlowsItsNeighboursNotTheWholeStep) {
  const Layout layout{8, 1, false};
  SimulationOptions options;
  options.stragglers.push_back({3, 0.0, 1e9, 1.5});
  const auto slow = simulate(scaling_request(32), layout, uniform_costs(layout, 0.05), options);
  const auto even = simulate(scaling_request(32), layout, uniform_costs(layout, 0.05));
  EXPECT_GT(slow.makespan_s, 1.4 * even.makespan_s);
  EXPECT_LT(slow.makespan_s, 1.6 * even.makespan_s);
}

TEST(Simulator, IsTheSameEveryTime) {
  SimulationOptions options;
  options.task_jitter = 0.2;
  options.link_jitter = 0.5;
  const Layout layout{3, 2, false};
  const auto costs = uniform_costs(layout, 0.05);
  const auto a = simulate(scaling_request(9), layout, costs, options);
  const auto b = simulate(scaling_request(9), layout, costs, options);
  EXPECT_EQ(a.makespan_s, b.makespan_s);
  options.seed = 2;
  EXPECT_NE(a.makespan_s, simulate(scaling_request(9), layout, costs, options).makespan_s);
}

TEST(Simulator, LosesAtMostOneStepPerLiveWindowWhenTheGangIsLost) {
  for (const auto order : {Order::kThroughput, Order::kStreaming}) {
    for (const auto coherence : {Coherence::kLocal, Coherence::kCausal}) {
      auto request = scaling_request(12);
      request.order = order;
      request.coherence = coherence;
      request.checkpoint_interval = 1;
      const Layout layout{3, 1, false};
      SimulationOptions options;
      options.failures_s = {1.3, 20.0};
      const auto run = simulate(request, layout, uniform_costs(layout, 0.05), options);
      const auto whole = simulate(request, layout, uniform_costs(layout, 0.05), {});
      // Twice, at most one evaluation for each window that may be under way.
      EXPECT_LE(run.redone_forwards, 2 * 12) << to_string(order) << to_string(coherence);
      EXPECT_EQ(run.forwards - run.redone_forwards, whole.forwards);
      EXPECT_GT(run.makespan_s, whole.makespan_s + options.restart_s);
    }
  }
}

}  // namespace
}  // namespace seamwright::scheduling

// A loss costs at most one step of every window (or as many as lie between records): in every state
// that a small gang can reach, and again in every state after such a loss.
#include "tests/unit/scheduling/kill_points.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "scheduling/planner.h"

namespace seamwright::scheduling {
namespace {

struct SmallGang {
  std::string name;
  Layout layout, next;  // before and after a loss
  int frames = 4, window = 2, overlap = 1, steps = 3, branches = 1, interval = 1;
  Coherence coherence = Coherence::kLocal;
  int lag = 1;
  Order order = Order::kThroughput;
};

void PrintTo(const SmallGang& gang, std::ostream* out) { *out << gang.name; }

Plan plan_of(const SmallGang& gang, const Layout& layout, const ResumeState& resume) {
  PlanRequest request;
  request.windows.frames = gang.frames;
  request.windows.window = gang.window;
  request.windows.overlap = gang.overlap;
  request.steps = gang.steps;
  request.branches = gang.branches;
  request.coherence = gang.coherence;
  request.lag = gang.lag;
  request.order = gang.order;
  request.decode_frames = gang.frames / 2;
  request.checkpoint_interval = gang.interval;
  auto costs = uniform_costs(layout, 0.05);
  costs.sizes.cut_bytes.assign(costs.sizes.cut_bytes.size(), 1000);
  return make_plan(request, layout, costs, resume);
}

class KillPoint : public ::testing::TestWithParam<SmallGang> {};

TEST_P(KillPoint, CostsAtMostOneStepOfAWindow) {
  const auto& gang = GetParam();
  // Of all losses, some are gone on from, and every state after them is one to be lost in as well.
  constexpr std::int64_t kResumed = 12;
  std::vector<Loss> losses;
  const auto first = explore(plan_of(gang, gang.layout, {}), {},
                             [&](const Loss& loss) { losses.push_back(loss); });
  EXPECT_EQ(first.problem, "");
  EXPECT_LE(first.most_redone, gang.interval) << first.worst;
  EXPECT_EQ(first.most_redone, gang.interval) << "nothing was ever lost: the test sees nothing";
  RecordProperty("states", static_cast<int>(first.states));
  const auto stride = static_cast<std::size_t>(std::max<std::int64_t>(1, first.states / kResumed));
  for (std::size_t i = stride / 2; i < losses.size(); i += stride) {
    const auto& loss = losses[i];
    if (loss.resume.first_missing_frame >= gang.frames) continue;
    const auto again = explore(plan_of(gang, gang.next, loss.resume), loss, {});
    EXPECT_EQ(again.problem, "");
    EXPECT_LE(again.most_redone, gang.interval) << "after loss " << i << ": " << again.worst;
  }
}

SmallGang causal(std::string name, Layout layout, Layout next, int lag, int interval) {
  SmallGang gang{std::move(name), layout, next};
  gang.coherence = Coherence::kCausal;
  gang.lag = lag;
  gang.interval = interval;
  return gang;
}

constexpr Layout kOne{1, 1, false}, kTwoGroups{2, 1, false}, kThreeGroups{3, 1, false},
    kTwoStages{1, 2, false};

INSTANTIATE_TEST_SUITE_P(
    Small, KillPoint,
    ::testing::Values(SmallGang{"alone", kOne, kTwoGroups, 6},
                      SmallGang{"groups", kTwoGroups, kOne, 5},
                      SmallGang{"three_groups", kThreeGroups, kTwoGroups, 4},
                      SmallGang{"stages", kTwoStages, kTwoGroups, 3, 2, 1, 3, 2},
                      SmallGang{"streaming", kTwoGroups, kTwoStages, 5, 2, 1, 3, 1, 1,
                                Coherence::kLocal, 1, Order::kStreaming},
                      SmallGang{"wide_overlap", kTwoGroups, kOne, 5, 3, 2},
                      SmallGang{"every_second_step", kTwoGroups, kTwoGroups, 4, 2, 1, 5, 1, 2},
                      causal("causal", kTwoGroups, kOne, 1, 1),
                      causal("causal_lag", kTwoGroups, kOne, 2, 1),
                      causal("causal_every_second_step", kTwoStages, kTwoGroups, 1, 2)),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace seamwright::scheduling

#include "scheduling/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

PlanRequest request(int frames, int window, int overlap, int steps) {
  PlanRequest r;
  r.windows.frames = frames;
  r.windows.window = window;
  r.windows.overlap = overlap;
  r.steps = steps;
  r.decode_frames = 4;
  return r;
}

std::vector<std::string> names(const std::vector<PlannedTask>& tasks) {
  std::vector<std::string> result;
  for (const auto& planned : tasks) result.push_back(to_string(planned.task));
  return result;
}

TEST(Planner, PlansOneWindowOnOneRankAsAPlainLoop) {
  const Layout layout{1, 1, false};
  const auto plan = make_plan(request(4, 8, 2, 2), layout, uniform_costs(layout, 1.0));
  EXPECT_THAT(names(plan.ranks[0]),
              ::testing::ElementsAre("source k0 f0-3", "forward w0 k0 b0 v0", "combine w0 k0",
                                     "advance k0 f0-3", "forward w0 k1 b0 v0", "combine w0 k1",
                                     "advance k1 f0-3", "decode c0 f0-3", "emit c0 f0-3"));
  EXPECT_TRUE(plan.messages.empty());
  EXPECT_EQ(plan.makespan_ns, 2'000'000'000);
}

}  // namespace
}  // namespace seamwright::scheduling

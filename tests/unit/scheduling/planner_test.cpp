#include "scheduling/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

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

int forwards_before_first_emit(const PlanRequest& r) {
  const Layout layout{1, 1, false};
  const auto plan = make_plan(r, layout, uniform_costs(layout, 1.0));
  int forwards = 0;
  for (const auto& planned : plan.ranks[0]) {
    if (planned.task.kind == TaskKind::kEmit) break;
    forwards += planned.task.kind == TaskKind::kForward ? 1 : 0;
  }
  return forwards;
}

TEST(StreamingOrder, NeedsATriangleOfEvaluationsBeforeTheFirstFrames) {
  for (const int steps : {1, 2, 5, 20}) {
    for (const int windows : {1, 2, 3, 8, 30}) {
      auto r = request(8 * windows + 4, 12, 4, steps);
      r.order = Order::kStreaming;
      int expected = 0;
      for (int j = 1; j <= steps; ++j) expected += std::min(j, windows);
      EXPECT_EQ(forwards_before_first_emit(r), expected) << steps << " steps, " << windows;
    }
  }
}

TEST(StreamingOrder, NeedsOneWindowsEvaluationsInCausalMode) {
  for (const int steps : {1, 4, 12}) {
    auto r = request(100, 12, 8, steps);
    r.order = Order::kStreaming;
    r.coherence = Coherence::kCausal;
    EXPECT_EQ(forwards_before_first_emit(r), steps);
    r.rounds = 2;
    EXPECT_EQ(forwards_before_first_emit(r), 2 * steps);
  }
}

std::string refusal(const PlanRequest& r) {
  const Layout layout{1, 1, false};
  try {
    Planner planner(r, layout, uniform_costs(layout, 1.0));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    return error.what();
  }
  return "planned";
}

TEST(StreamingOrder, IsRefusedWithTheReasonWhereEarlyFramesWaitForLateOnes) {
  auto r = request(100, 12, 7, 4);
  r.order = Order::kStreaming;
  EXPECT_THAT(refusal(r), ::testing::HasSubstr("at most half a window"));
  r.coherence = Coherence::kCausal;
  EXPECT_EQ(refusal(r), "planned");
  r.coherence = Coherence::kLocal;
  r.windows.overlap = 6;
  r.windows.schedule = ScheduleKind::kUniform;
  EXPECT_THAT(refusal(r), ::testing::HasSubstr("static"));
  r.order = Order::kThroughput;
  EXPECT_EQ(refusal(r), "planned");
  r.coherence = Coherence::kCausal;
  EXPECT_THAT(refusal(r), ::testing::HasSubstr("causal"));
  r = request(kEndless, 12, 6, 4);
  EXPECT_THAT(refusal(r), ::testing::HasSubstr("endless"));
}

TEST(StreamingOrder, KeepsTheMemoryBoundWhateverTheLength) {
  for (const auto coherence : {Coherence::kLocal, Coherence::kCausal}) {
    for (const Layout layout : {Layout{1, 1, false}, Layout{3, 1, false}, Layout{2, 3, true}}) {
      auto costs = uniform_costs(layout, 1.0);
      costs.decode_frame_s = 0.3;
      costs.sizes.output_frame_bytes = 1 << 20;
      auto r = request(1000, 12, 4, 6);
      r.order = Order::kStreaming;
      r.coherence = coherence;
      const auto small = make_plan(r, layout, costs).live_bytes_max;
      r.windows.frames = 8000;
      const auto large = make_plan(r, layout, costs).live_bytes_max;
      for (std::size_t rank = 0; rank < small.size(); ++rank) {
        // Which ranks happen to hold a decoded chunk or two at the worst moment varies.
        const std::int64_t chunks = 3LL * r.decode_frames * costs.sizes.output_frame_bytes;
        EXPECT_LE(large[rank], small[rank] * 21 / 20 + chunks)
            << to_string(layout) << " rank " << rank;
      }
    }
  }
}

TEST(StreamingOrder, PlansAnEndlessVideoChunkByChunk) {
  const Layout layout{2, 2, false};
  auto r = request(kEndless, 12, 4, 4);
  r.order = Order::kStreaming;
  Planner planner(r, layout, uniform_costs(layout, 1.0));
  int emitted = 0;
  std::vector<std::int64_t> bytes_early;
  for (int chunk = 0; chunk < 60; ++chunk) {
    ASSERT_FALSE(planner.done());
    for (const auto& planned : planner.next_chunk().tasks) {
      if (planned.task.kind != TaskKind::kEmit) continue;
      EXPECT_EQ(planned.task.chunk, emitted++);
    }
    if (chunk == 10) bytes_early = planner.live_bytes_max();
  }
  EXPECT_GT(emitted, 10000);
  EXPECT_EQ(planner.live_bytes_max(), bytes_early);
}

TEST(Planner, PlansTheSameWhateverTheChunks) {
  const Layout layout{3, 2, false};
  auto r = request(90, 12, 4, 5);
  PlanOptions small;
  small.chunk_tasks = 7;
  const auto a = make_plan(r, layout, uniform_costs(layout, 1.0));
  const auto b = make_plan(r, layout, uniform_costs(layout, 1.0), {}, small);
  EXPECT_EQ(a.hash, b.hash);
  r.steps = 6;
  EXPECT_NE(a.hash, make_plan(r, layout, uniform_costs(layout, 1.0)).hash);
  auto costs = uniform_costs(layout, 1.0);
  costs.rank_speed.assign(6, 1.0);
  costs.rank_speed[3] = 0.5;
  r.steps = 5;
  EXPECT_NE(a.hash, make_plan(r, layout, costs).hash);
}

TEST(Planner, SendsOnlySharedFramesBetweenGroups) {
  const Layout layout{2, 1, false};
  const auto plan = make_plan(request(44, 12, 4, 3), layout, uniform_costs(layout, 1.0));
  ASSERT_FALSE(plan.messages.empty());
  for (const auto& message : plan.messages) {
    if (message.data.front().id.kind == DataKind::kPrediction) {
      EXPECT_EQ(message.positions.size(), 4U);
    }
  }
}

TEST(Planner, GivesEveryGroupItsShare) {
  const Layout layout{4, 1, false};
  const auto plan = make_plan(request(12 * 8 + 4, 16, 4, 5), layout, uniform_costs(layout, 1.0));
  for (const auto& tasks : plan.ranks) {
    EXPECT_EQ(std::count_if(tasks.begin(), tasks.end(),
                            [](const auto& p) { return p.task.kind == TaskKind::kForward; }),
              2 * 5);
  }
}

TEST(Planner, ExplainsItself) {
  const Layout layout{8, 1, false};
  auto costs = uniform_costs(layout, 1.0);
  costs.rank_speed.assign(8, 1.0);
  costs.rank_speed[2] = 0.8;
  const auto plan = make_plan(request(28, 16, 4, 5), layout, costs);
  EXPECT_THAT(plan.reasons, ::testing::Contains(::testing::HasSubstr("block")));
  EXPECT_THAT(plan.reasons, ::testing::Contains(::testing::HasSubstr("only wait")));
  EXPECT_THAT(plan.reasons, ::testing::Contains(::testing::HasSubstr("0.800")));
}

TEST(Layout, VisitsStagesDownAndUpWhenFolded) {
  const Layout folded{2, 3, true};
  std::vector<int> ranks;
  for (int visit = 0; visit < folded.visits(); ++visit) ranks.push_back(folded.rank_of(1, visit));
  EXPECT_THAT(ranks, ::testing::ElementsAre(3, 4, 5, 4, 3));
  EXPECT_EQ(folded.last_rank(1), folded.home_rank(1));
  EXPECT_EQ(parse_layout("2x3f"), folded);
  EXPECT_EQ(parse_layout("4x1"), (Layout{4, 1, false}));
  for (const char* bad : {"", "3", "x", "0x1", "2x", "2x3g", "2x3ff", "-1x2"}) {
    EXPECT_THROW(parse_layout(bad), Error) << bad;
  }
}

TEST(Planner, HasNothingToDoWhenEverythingIsPublished) {
  for (const auto coherence : {Coherence::kLocal, Coherence::kCausal}) {
    PlanRequest request;
    request.windows.frames = 43;
    request.decode_frames = 8;
    request.coherence = coherence;
    const auto plan = make_plan(request, {}, uniform_costs({}, 1.0), {43, {}});
    EXPECT_TRUE(plan.ranks[0].empty());
  }
}

}  // namespace
}  // namespace seamwright::scheduling

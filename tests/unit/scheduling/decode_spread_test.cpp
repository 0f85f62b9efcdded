// Which rank decodes which frames, as whole plans show it.
#include "scheduling/decode_spread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "scheduling/planner.h"

namespace seamwright::scheduling {
namespace {

using ::testing::ElementsAre;

// Windows of a second each for every step.
PlanRequest request(int frames) {
  PlanRequest r;
  r.windows.frames = frames;
  r.windows.window = 16;
  r.windows.overlap = 8;
  r.steps = 4;
  r.decode_frames = 4;
  return r;
}

CostTable costs(const Layout& layout, double decode_frame_s) {
  CostTable table = uniform_costs(layout, 1.0);
  table.decode_frame_s = decode_frame_s;
  return table;
}

double makespan_s(const PlanRequest& r, const Layout& layout, const CostTable& table) {
  return static_cast<double>(make_plan(r, layout, table).makespan_ns) * 1e-9;
}

// The chunks that each rank decodes.
std::vector<std::vector<int>> decoded(const PlanRequest& r, const Layout& layout,
                                      const CostTable& table) {
  std::vector<std::vector<int>> chunks;
  for (const auto& tasks : make_plan(r, layout, table).ranks) {
    chunks.emplace_back();
    for (const auto& planned : tasks) {
      if (planned.task.kind == TaskKind::kDecode) chunks.back().push_back(planned.task.chunk);
    }
  }
  return chunks;
}

TEST(DecodeSpread, DealsChunksRoundAllRanksAtTheEnd) {
  const Layout layout{2, 1, false};
  EXPECT_THAT(decoded(request(40), layout, costs(layout, 0.125)),
              ElementsAre(ElementsAre(0, 2, 4, 6, 8), ElementsAre(1, 3, 5, 7, 9)));
}

TEST(DecodeSpread, GivesMoreToAGroupWithFewerWindows) {
  // Two windows and one, so one is a second ahead after the last step: two chunks.
  const Layout layout{2, 1, false};
  EXPECT_THAT(decoded(request(32), layout, costs(layout, 0.125)),
              ElementsAre(ElementsAre(2, 4, 6), ElementsAre(0, 1, 3, 5, 7)));
}

TEST(DecodeSpread, GivesMoreToAFasterRank) {
  const Layout layout{2, 1, false};
  CostTable table = costs(layout, 0.125);
  table.rank_speed = {1.0, 0.5};
  // Windows 4 and 2, which take equally long; 14 chunks.
  const auto chunks = decoded(request(56), layout, table);
  EXPECT_EQ(chunks[0].size(), 10U);
  EXPECT_EQ(chunks[1].size(), 4U);
}

TEST(DecodeSpread, LeavesFramesWhereTheyAreIfMovingThemTakesAsLong) {
  const Layout layout{2, 1, false};
  const auto home = ElementsAre(ElementsAre(0, 1, 2, 3, 4, 5), ElementsAre(6, 7, 8, 9));
  EXPECT_THAT(decoded(request(40), layout, costs(layout, 0)), home);
  CostTable slow = costs(layout, 0.001);
  slow.near.bytes_per_s = 1e6;
  EXPECT_THAT(decoded(request(40), layout, slow), home);
}

TEST(DecodeSpread, LeavesFramesToTheirGroupInStreamingOrder) {
  const Layout layout{2, 1, false};
  PlanRequest r = request(72);
  r.order = Order::kStreaming;
  // Windows go round; the first makes 16 frames final, every other one 8.
  EXPECT_THAT(decoded(r, layout, costs(layout, 0.125)),
              ElementsAre(ElementsAre(0, 1, 2, 3, 6, 7, 10, 11, 14, 15),
                          ElementsAre(4, 5, 8, 9, 12, 13, 16, 17)));
}

// Frames leave in order and few may wait for it: with runs of their own the groups were planned to
// decode one after the other, in twice the time at sixteen groups.
TEST(DecodeSpread, TakesAsLongForAnyNumberOfGroups) {
  for (const int groups : {2, 4, 16}) {
    for (const int chunk : {1, 4}) {
      const Layout layout{groups, 1, false};
      PlanRequest r = request(8 + 64 * groups);  // eight windows a group
      r.decode_frames = chunk;
      const double frames = static_cast<double>(r.windows.frames) / groups;
      EXPECT_LE(makespan_s(r, layout, costs(layout, 0.155)), 8 * 4 + (frames + 2 * chunk) * 0.155)
          << groups << " groups, chunks of " << chunk;
    }
  }
}

}  // namespace
}  // namespace seamwright::scheduling

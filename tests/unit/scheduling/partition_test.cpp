#include "scheduling/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A U: `depth` blocks down, each leaving a skip, a middle, `depth` blocks up that read them back.
std::vector<PartitionBlock> u_net(int depth, std::mt19937_64& random) {
  const auto pick = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  std::vector<PartitionBlock> blocks;
  for (int i = 0; i < depth; ++i) {
    blocks.push_back({fmt::format("down.{}", i),
                      pick(1, 9) * 0.01,
                      pick(1, 9) * 100,
                      {i == 0 ? "sample" : "h", "temb"},
                      {{"h", pick(1, 5)}, {fmt::format("skip.{}", i), pick(5, 50)}}});
  }
  blocks.push_back(
      {"mid", pick(1, 9) * 0.01, pick(1, 9) * 100, {"h", "temb"}, {{"h", pick(1, 5)}}});
  for (int i = depth - 1; i >= 0; --i) {
    blocks.push_back({fmt::format("up.{}", i),
                      pick(1, 9) * 0.01,
                      pick(1, 9) * 100,
                      {"h", fmt::format("skip.{}", i), "temb"},
                      {{i == 0 ? "prediction" : "h", pick(1, 5)}}});
  }
  return blocks;
}

void for_all_bounds(std::size_t blocks, int visits,
                    const std::function<void(const std::vector<std::size_t>&)>& visit) {
  std::vector<std::size_t> bounds{0};
  const std::function<void()> extend = [&] {
    if (static_cast<int>(bounds.size()) == visits) {
      bounds.push_back(blocks);
      visit(bounds);
      bounds.pop_back();
      return;
    }
    for (std::size_t next = bounds.back() + 1; next < blocks; ++next) {
      bounds.push_back(next);
      extend();
      bounds.pop_back();
    }
  };
  extend();
}

TEST(Partition, OfOneStageIsTheWholeNetwork) {
  std::mt19937_64 random(1);
  const auto blocks = u_net(3, random);
  const auto p = partition_stages(blocks, {});
  EXPECT_THAT(p.bounds, ElementsAre(0, blocks.size()));
  EXPECT_THAT(p.cut_bytes, IsEmpty());
  EXPECT_EQ(p.total_cut_bytes, 0);
}

TEST(Partition, RelaysSkipsThroughEveryCutBetweenConsecutiveStages) {
  std::mt19937_64 random(1);
  const auto p = describe_partition(u_net(2, random), 3, false, {0, 1, 4, 5});
  EXPECT_THAT(p.sends[0], ElementsAre("h", "skip.0"));
  EXPECT_THAT(p.sends[1], ElementsAre("skip.0", "h"));
  EXPECT_THAT(p.keeps[0], IsEmpty());
}

TEST(Partition, KeepsSkipsAtHomeWhenFolded) {
  std::mt19937_64 random(1);
  const auto p = describe_partition(u_net(2, random), 2, true, {0, 1, 4, 5});
  EXPECT_THAT(p.sends[0], ElementsAre("h"));
  EXPECT_THAT(p.sends[1], ElementsAre("h"));
  EXPECT_THAT(p.keeps[0], ElementsAre("skip.0"));
  EXPECT_THAT(p.keeps[1], IsEmpty());
}

TEST(Partition, CarriesASkipThatTheFoldDoesNotMatchToItsReader) {
  // down.1 lies in the middle stage but its reader up.1 in the outer one, and the other way round.
  std::mt19937_64 random(1);
  const auto blocks = u_net(2, random);
  const auto late = describe_partition(blocks, 2, true, {0, 1, 3, 5});
  EXPECT_THAT(late.sends[1], ::testing::UnorderedElementsAre("h", "skip.1"));
  const auto early = describe_partition(blocks, 2, true, {0, 2, 4, 5});
  EXPECT_THAT(early.sends[0], ::testing::UnorderedElementsAre("h", "skip.1"));
  EXPECT_THAT(early.keeps[0], ElementsAre("skip.0"));
}

TEST(Partition, IsTheBestOfAllCuts) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    const auto blocks = u_net(2 + static_cast<int>(seed % 3), random);
    for (const bool folded : {false, true}) {
      for (const int stages : {2, 3}) {
        PartitionRequest request;
        request.stages = stages;
        request.folded = folded;
        request.tolerance = seed % 2 == 0 ? 0.0 : 0.2;
        request.memory_limit = seed % 5 == 0 ? 4000 : 0;
        request.link_bytes_per_s = seed % 3 == 0 ? 0.0 : seed % 3 == 1 ? 300.0 : 900.0;
        // Links carry what crosses while stages compute.
        const auto time_of = [&](const Partition& p) {
          if (request.link_bytes_per_s == 0) return p.slowest_stage_s;
          return std::max(p.slowest_stage_s,
                          static_cast<double>(p.busiest_link_bytes) / request.link_bytes_per_s);
        };
        const int visits = Layout{1, stages, folded}.visits();
        if (static_cast<std::size_t>(visits) > blocks.size()) continue;
        const auto fits = [&](const Partition& p) {
          if (request.memory_limit == 0) return true;
          for (int stage = 0; stage < stages; ++stage) {
            // Both sides of a stage's cuts, and what it keeps.
            std::int64_t bytes = 0;
            for (int v = 0; v < visits; ++v) {
              if (Layout{1, stages, folded}.stage_of_visit(v) != stage) continue;
              const auto at = static_cast<std::size_t>(v);
              if (v > 0) bytes += p.cut_bytes[at - 1];
              if (v + 1 < visits) bytes += p.cut_bytes[at];
              bytes += p.retained_bytes[at];
            }
            if (p.weight_bytes[static_cast<std::size_t>(stage)] + 2 * bytes >
                request.memory_limit) {
              return false;
            }
          }
          return true;
        };
        double fastest = 1e9;
        for_all_bounds(blocks.size(), visits, [&](const auto& bounds) {
          const auto p = describe_partition(blocks, stages, folded, bounds);
          if (fits(p)) fastest = std::min(fastest, time_of(p));
        });
        if (fastest == 1e9) {
          EXPECT_THROW(partition_stages(blocks, request), Error);
          continue;
        }
        double total = 0.0;
        for (const auto& block : blocks) total += block.seconds;
        const double bound =
            std::max(fastest, total / stages) * (1 + request.tolerance) * (1 + 1e-9);
        std::int64_t least = 1 << 30;
        for_all_bounds(blocks.size(), visits, [&](const auto& bounds) {
          const auto p = describe_partition(blocks, stages, folded, bounds);
          if (fits(p) && time_of(p) <= bound) least = std::min(least, p.total_cut_bytes);
        });
        const auto p = partition_stages(blocks, request);
        EXPECT_LE(time_of(p), bound) << "seed " << seed << " folded " << folded;
        EXPECT_EQ(p.total_cut_bytes, least) << "seed " << seed << " folded " << folded;
      }
    }
  }
}

TEST(Partition, LetsDecodingFillUpAShorterStage) {
  std::mt19937_64 random(4);
  const auto blocks = u_net(6, random);
  PartitionRequest request;
  request.stages = 3;
  request.tolerance = 0.0;
  const auto plain = partition_stages(blocks, request);
  request.decode_s = 1.0;
  const auto decoding = partition_stages(blocks, request);
  EXPECT_LE(decoding.total_cut_bytes, plain.total_cut_bytes);
  EXPECT_GE(decoding.slowest_stage_s, plain.slowest_stage_s);
}

TEST(Partition, SaysWhatIsWrong) {
  std::mt19937_64 random(1);
  const auto blocks = u_net(2, random);
  PartitionRequest request;
  request.stages = 4;
  request.folded = true;
  EXPECT_THROW(partition_stages(blocks, request), Error);
  request.stages = 2;
  request.memory_limit = 10;
  try {
    partition_stages(blocks, request);
    FAIL() << "fitted into ten bytes";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResource);
  }
}

}  // namespace
}  // namespace seamwright::scheduling

// A gang measures its ranks before a job that is worth it; a slow rank then gets fewer windows, and
// the video is the same.
#include "worker/cost_measurement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "base/error.h"
#include "comm/loopback/loopback.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Json = nlohmann::json;

GenerateOptions options_of(const scheduling::Layout& layout, const std::string& costs) {
  GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
  auto& r = o.request;
  r.prompt = "a cat on a hill";
  r.frames = 36;  // eight windows
  r.window = 8;
  r.overlap = 4;
  r.width = r.height = 64;
  r.steps = 3;
  r.guidance = 4;
  r.seed = 11;
  r.device = "cpu";
  o.layout = layout;
  o.threads = 1;
  o.costs = costs;
  return o;
}

std::vector<std::int64_t> forwards_of(const Json& report) {
  std::vector<std::int64_t> forwards;
  for (const auto& rank : report.at("ranks")) forwards.push_back(rank.at("forwards"));
  return forwards;
}

// So slow that no noise of a busy machine makes up for it.
constexpr const char* kSlowRank1 = "slow:percent=1500:rank=1";

TEST(CostMeasurement, GivesASlowRankFewerWindowsAndTheSameVideo) {
  const auto alone = generate(options_of({1, 1, false}, "auto"), {}).report;
  EXPECT_EQ(alone.at("costs").at("source"), "counted");
  auto counted = options_of({2, 1, false}, "counted");
  counted.failpoint = "slow:percent=150:rank=1";  // also without measuring the rank is slow
  const auto even = generate(counted, {}).report;
  EXPECT_EQ(even.at("costs").at("source"), "counted");
  EXPECT_EQ(forwards_of(even), (std::vector<std::int64_t>{24, 24}));
  auto measured = options_of({2, 1, false}, "measured");
  measured.failpoint = kSlowRank1;
  const auto weighed = generate(measured, {}).report;
  const auto& costs = weighed.at("costs");
  EXPECT_EQ(costs.at("source"), "measured");
  EXPECT_THAT(costs.at("reason").get<std::string>(), HasSubstr("windows are shared out by that"));
  EXPECT_THAT(costs.at("measured_seconds"), SizeIs(2));
  EXPECT_LT(costs.at("group_speeds").at(1).get<double>(), 0.7);
  EXPECT_LT(forwards_of(weighed)[1], 24);
  EXPECT_EQ(forwards_of(weighed)[0] + forwards_of(weighed)[1], 48);
  for (const auto& report : {even, weighed}) {
    EXPECT_EQ(report.at("latents_sha256"), alone.at("latents_sha256"));
    for (const auto& rank : report.at("ranks")) {
      EXPECT_EQ(rank.at("plan_hash"), report.at("ranks").at(0).at("plan_hash"));
      EXPECT_LE(rank.at("peak_live_bytes").get<std::int64_t>(),
                rank.at("planned_live_bytes").get<std::int64_t>());
    }
  }
}

// Where nothing computes with OpenMP, which ThreadSanitizer does not understand.
TEST(CostMeasurement, OnTheReferenceBackend) {
  auto options = options_of({2, 2, false}, "measured");
  options.request.device = "reference";
  options.request.frames = 12;
  options.request.width = options.request.height = 32;
  options.request.steps = 1;
  options.request.guidance = 1;
  const auto report = generate(options, {}).report;
  EXPECT_EQ(report.at("costs").at("source"), "measured");
  options.layout = {};
  EXPECT_EQ(report.at("latents_sha256"), generate(options, {}).report.at("latents_sha256"));
}

TEST(CostMeasurement, TimesEveryVisitOfStages) {
  const auto small = [](const scheduling::Layout& layout, const std::string& costs) {
    auto options = options_of(layout, costs);
    options.request.precision = "bf16";
    options.request.frames = 16;
    options.request.steps = 2;
    return generate(options, {}).report;
  };
  const auto alone = small({1, 1, false}, "counted");
  for (const auto& [layout, visits] :
       {std::pair(scheduling::Layout{2, 2, false}, std::vector<std::size_t>{1, 1, 1, 1}),
        std::pair(scheduling::Layout{2, 3, true}, std::vector<std::size_t>{2, 2, 1, 2, 2, 1})}) {
    const auto report = small(layout, "measured");
    const auto& seconds = report.at("costs").at("measured_seconds");
    ASSERT_EQ(seconds.size(), visits.size());
    for (std::size_t r = 0; r < visits.size(); ++r) EXPECT_THAT(seconds[r], SizeIs(visits[r]));
    EXPECT_EQ(report.at("latents_sha256"), alone.at("latents_sha256"));
  }
}

TEST(CostMeasurement, CountsWhereNothingCouldBeGained) {
  const auto reason = [](const scheduling::Layout& layout, const std::string& costs) {
    auto options = options_of(layout, costs);
    options.request.frames = 8;
    options.request.steps = 1;
    return generate(options, {}).report.at("costs").at("reason").get<std::string>();
  };
  EXPECT_THAT(reason({2, 1, false}, "auto"), HasSubstr("a group's share is short"));
  EXPECT_THAT(reason({2, 1, false}, "counted"), HasSubstr("as asked"));
  EXPECT_THAT(reason({1, 2, false}, "measured"), HasSubstr("one group has every window"));
}

// A gang that serves: the second job of a kind is planned with what the first one measured, also
// when a rank has become slow since; rank 0's memory counts.
TEST(CostMeasurement, IsKeptForLaterJobsOfTheGang) {
  std::vector<std::shared_ptr<ModelCache>> caches{std::make_shared<ModelCache>(),
                                                  std::make_shared<ModelCache>()};
  const auto job = [&](const std::string& failpoint, int frames, int steps) {
    comm::LoopbackGang gang(2);
    Json report;
    const auto member = [&](int rank) {
      auto options = options_of({2, 1, false}, "measured");
      options.models = caches[static_cast<std::size_t>(rank)];
      options.failpoint = failpoint;
      options.request.frames = frames;
      options.request.steps = steps;
      auto result = generate_as_rank(options, {}, rank, &gang.fabric(rank));
      if (rank == 0) report = std::move(result.report);
    };
    std::thread other(member, 1);
    member(0);
    other.join();
    return report;
  };
  const auto first = job(kSlowRank1, 36, 3);
  const auto second = job("", 44, 2);
  EXPECT_THAT(first.at("costs").at("reason").get<std::string>(), HasSubstr("before this job"));
  EXPECT_THAT(second.at("costs").at("reason").get<std::string>(), HasSubstr("an earlier job"));
  EXPECT_EQ(second.at("costs").at("measured_seconds"), first.at("costs").at("measured_seconds"));
  EXPECT_LT(forwards_of(second)[1], forwards_of(second)[0]);
  caches[0] = std::make_shared<ModelCache>();  // rank 0 has forgotten: all measure again
  const auto third = job("", 36, 3);
  EXPECT_THAT(third.at("costs").at("reason").get<std::string>(), HasSubstr("before this job"));
  EXPECT_EQ(third.at("latents_sha256"), first.at("latents_sha256"));
}

}  // namespace
}  // namespace seamwright::worker

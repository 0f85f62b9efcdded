// Which algorithm a trial takes, and plans that are made ahead: without a device.
#include "model/cuda/trial.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "model/cuda/plan_cache.h"

namespace seamwright::model::cuda {
namespace {

using ::testing::ElementsAre;

struct Algorithm {
  float time = 1;
  bool same = true;
  bool refuses = false;
};

std::size_t taken(const std::vector<Algorithm>& all, std::vector<std::size_t>* timed = nullptr) {
  return fastest_of_equals(
      all.size(),
      [&](std::size_t i) {
        EXPECT_GT(i, 0U) << "the first is what the others are compared with";
        if (all[i].refuses) fail(ErrorCode::kResource, "not these operands");
        return all[i].same;
      },
      [&](std::size_t i) {
        if (timed != nullptr) timed->push_back(i);
        return all[i].time;
      });
}

TEST(Trial, TakesTheFastestThatGivesTheSameBits) {
  EXPECT_EQ(taken({{1.0F}, {0.9F}, {0.5F}, {0.7F}}), 2U);
  EXPECT_EQ(taken({{1.0F}, {0.2F, false}, {0.5F}}), 2U) << "a faster one gives other bits";
  EXPECT_EQ(taken({{1.0F}, {0.2F, false}, {2.0F}}), 0U);
  EXPECT_EQ(taken({{1.0F}}), 0U);
}

TEST(Trial, KeepsTheFirstWhereNothingIsClearlyFaster) {
  EXPECT_EQ(taken({{1.0F}, {0.98F}}), 0U);
  EXPECT_EQ(taken({{1.0F}, {0.96F}}), 1U);
}

TEST(Trial, PassesOverWhatDoesNotTakeTheOperands) {
  std::vector<std::size_t> timed;
  EXPECT_EQ(taken({{1.0F}, {0.1F, true, true}, {0.4F}, {0.3F, false}}, &timed), 2U);
  EXPECT_THAT(timed, ElementsAre(0, 2));
}

Product dense(std::int64_t rows, std::int64_t in, std::int64_t out) {
  Product p;
  p.rows = rows;
  p.in = p.x_stride = p.w_stride = in;
  p.out = p.y_stride = out;
  return p;
}

TEST(Trial, IsForLargeDenseProductsWithAChoice) {
  const Product large = dense(4096, 320, 320);
  EXPECT_TRUE(worth_a_trial(large, 2));
  EXPECT_FALSE(worth_a_trial(large, 1));
  EXPECT_FALSE(worth_a_trial(dense(77, 768, 320), 8));
  auto other = large;
  other.y_stride = 640;
  EXPECT_FALSE(worth_a_trial(other, 8));
  other = large;
  other.batch = 2;
  EXPECT_FALSE(worth_a_trial(other, 8));
  other = large;
  other.w_transposed = true;
  EXPECT_FALSE(worth_a_trial(other, 8));
}

// Counts what is made, and on which threads.
struct Maker {
  std::mutex mutex;
  std::vector<int> made;
  std::vector<std::thread::id> threads;
  std::function<int(const int&)> function() {
    return [this](const int& key) {
      const std::lock_guard lock(mutex);
      made.push_back(key);
      threads.push_back(std::this_thread::get_id());
      return key * 10;
    };
  }
};

TEST(PlanCache, MakesAPlanWhenItIsFirstAskedFor) {
  Maker maker;
  PlanCache<int, int> plans(8, maker.function());
  for (int i = 0; i < 3; ++i) {
    ASSERT_NE(plans.ask(4), nullptr);
    EXPECT_EQ(*plans.ask(4), 40);
    EXPECT_EQ(plans.get(4), 40);
  }
  EXPECT_THAT(maker.made, ElementsAre(4));
  EXPECT_THAT(maker.threads, ElementsAre(std::this_thread::get_id()));
}

TEST(PlanCache, AheadItMakesEachOnceOnAnotherThread) {
  Maker maker;
  PlanCache<int, int> plans(8, maker.function());
  EXPECT_EQ(plans.get(1), 10);
  plans.ahead(true);
  EXPECT_EQ(plans.ask(2), nullptr);
  EXPECT_EQ(plans.ask(3), nullptr);
  EXPECT_EQ(plans.ask(2), nullptr);
  ASSERT_NE(plans.ask(1), nullptr) << "known already";
  plans.ahead(false);
  EXPECT_EQ(*plans.ask(2), 20);
  EXPECT_EQ(*plans.ask(3), 30);
  EXPECT_THAT(maker.made, ::testing::UnorderedElementsAre(1, 2, 3));
  for (std::size_t i = 1; i < 3; ++i) EXPECT_NE(maker.threads[i], std::this_thread::get_id());
}

TEST(PlanCache, WaitsForWhatIsUnderWayBeforeItGoes) {
  std::atomic<bool> made{false};
  {
    PlanCache<int, int> plans(8, [&](const int& key) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      made = true;
      return key;
    });
    plans.ahead(true);
    EXPECT_EQ(plans.ask(1), nullptr);
    plans.clear();
    EXPECT_TRUE(made);
  }
}

TEST(PlanCache, ForgetsTheOldestBeyondItsLimit) {
  Maker maker;
  PlanCache<int, int> plans(2, maker.function());
  for (int key : {1, 2, 3, 1}) plans.get(key);
  EXPECT_THAT(maker.made, ElementsAre(1, 2, 3, 1));
}

}  // namespace
}  // namespace seamwright::model::cuda

// Which job runs where. Each case is a table: what waits, what is there -> what starts, and why the
// rest waits.
#include "scheduling/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace seamwright::scheduling {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

WaitingJob job(const std::string& id, std::int64_t arrival, int priority = 0, bool endless = false,
               const std::string& model = "demo") {
  return {id, model, priority, endless, arrival, ""};
}

GangOffer idle(const std::string& id, int ranks = 1, const std::string& loaded = "") {
  GangOffer gang;
  gang.id = id;
  gang.models = {"demo"};
  gang.loaded_model = loaded;
  gang.ranks = ranks;
  return gang;
}

GangOffer busy(const std::string& id, const std::string& runs, bool endless = false) {
  auto gang = idle(id);
  gang.ready = false;
  gang.runs = runs;
  gang.runs_endless = endless;
  return gang;
}

TEST(Cluster, ServesPriorityThenArrivalAndEndlessLast) {
  const auto decision =
      decide({job("late", 3), job("endless", 1, 9, true), job("early", 2), job("urgent", 4, 5)},
             {idle("a")});
  EXPECT_THAT(decision.starts, ElementsAre(Assignment{"urgent", "a"}));
  ASSERT_EQ(decision.waiting.size(), 3U);
  EXPECT_EQ(decision.waiting[0].job, "early");
  EXPECT_EQ(decision.waiting[1].job, "late");
  EXPECT_EQ(decision.waiting[2].job, "endless");
  EXPECT_EQ(decision.waiting[2].position, 2);
}

TEST(Cluster, PrefersTheGangThatHasTheModelLoadedThenTheLargerOne) {
  const auto loaded = decide({job("j", 1)}, {idle("large", 8), idle("warm", 1, "demo")});
  EXPECT_THAT(loaded.starts, ElementsAre(Assignment{"j", "warm"}));
  const auto larger = decide({job("j", 1)}, {idle("small", 1), idle("large", 8)});
  EXPECT_THAT(larger.starts, ElementsAre(Assignment{"j", "large"}));
}

TEST(Cluster, TriesAnotherGangAfterALossIfThereIsOne) {
  auto lost = job("j", 1);
  lost.avoid_gang = "a";
  EXPECT_THAT(decide({lost}, {idle("a", 8, "demo"), idle("b")}).starts,
              ElementsAre(Assignment{"j", "b"}));
  EXPECT_THAT(decide({lost}, {idle("a")}).starts, ElementsAre(Assignment{"j", "a"}));
}

TEST(Cluster, LetsLaterJobsPassOneThatNoGangCanTake) {
  const auto decision = decide({job("other", 1, 0, false, "svd"), job("j", 2)}, {idle("a")});
  EXPECT_THAT(decision.starts, ElementsAre(Assignment{"j", "a"}));
  ASSERT_EQ(decision.waiting.size(), 1U);
  EXPECT_THAT(decision.waiting[0].reason, HasSubstr("model 'svd'"));
}

TEST(Cluster, SaysWhyAJobWaits) {
  EXPECT_EQ(decide({job("j", 1)}, {}).waiting[0].reason, "no gang is connected");
  EXPECT_THAT(decide({job("j", 1)}, {busy("a", "x")}).waiting[0].reason,
              HasSubstr("gang a is busy"));
  auto draining = idle("a");
  draining.ready = false;
  draining.unready_reason = "it is being drained";
  EXPECT_THAT(decide({job("j", 1)}, {draining}).waiting[0].reason, HasSubstr("drained"));
}

TEST(Cluster, EndlessJobsMakeRoomForOneWaitingJobEach) {
  const auto decision = decide({job("j", 1), job("k", 2), job("e", 3, 0, true)},
                               {busy("a", "stream", true), busy("b", "x")});
  EXPECT_THAT(decision.preempt, ElementsAre("stream"));
  EXPECT_TRUE(decide({job("e", 3, 0, true)}, {busy("a", "stream", true)}).preempt.empty());
}

}  // namespace
}  // namespace seamwright::scheduling

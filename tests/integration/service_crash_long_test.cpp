// The long part of what service_crash_test.cpp shows: every single commit, and two hundred kills.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/integration/service_crash.h"

namespace seamwright {
namespace {

using media::TemporaryFolder;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

class Failpoint : public testing::TestWithParam<const char*> {};

TEST_P(Failpoint, KilledThereNothingIsLost) { expect_nothing_lost_at(GetParam()); }

INSTANTIATE_TEST_SUITE_P(AroundEveryRemoval, Failpoint,
                         testing::Values("before.migrate_records", "after.migrate_records",
                                         "before.drop", "after.drop", "before.drop:5",
                                         "before.discard", "after.discard"),
                         point_name);
TEST(ServiceCrash, TwoHundredRandomKillsLoseNothing) {
  expect_nothing_lost_in_random_kills(200, 11);
}

// What a client does with four jobs, each answer as it was heard (0 = not at all).
struct Life {
  std::string made, pictured, cancelled, removed;
  int cancel = 0, remove = 0;
};

Life live(ServeProcess& serve, const std::string& picture) {
  Life life;
  life.made = serve.submit(tiny_request());
  life.pictured = submit_with_picture(serve, picture);
  life.cancelled = serve.submit(tiny_request(60, 2));
  life.removed = serve.submit(tiny_request(60, 3));
  if (!life.cancelled.empty()) {
    life.cancel = serve.ask("POST", "/v1/videos/" + life.cancelled + "/cancel").status;
  }
  if (!life.removed.empty()) life.remove = serve.ask("DELETE", "/v1/videos/" + life.removed).status;
  return life;
}

void expect_kept(ServeProcess& serve, const Life& life, std::string& pictured_hash) {
  if (!life.made.empty()) {
    EXPECT_EQ(serve.wait_final(life.made).at("latents_sha256"), undisturbed_hash(tiny_request()));
  }
  if (!life.pictured.empty()) {
    const std::string hash = serve.wait_final(life.pictured).at("latents_sha256");
    if (pictured_hash.empty()) pictured_hash = hash;
    EXPECT_EQ(hash, pictured_hash);
  }
  if (life.cancel == 200) {
    EXPECT_EQ(serve.wait_final(life.cancelled).at("error").at("code"), "cancelled");
  } else if (!life.cancelled.empty()) {
    EXPECT_TRUE(is_final(serve.wait_final(life.cancelled)));
  }
  if (life.remove == 200) {
    EXPECT_EQ(serve.ask("GET", "/v1/videos/" + life.removed).status, 404);
  }
}

// Whatever else is stored, and when: before and after the N-th commit, for every N until none is
// left.
TEST(ServiceCrash, KilledAroundEveryCommitOfALifeNothingIsLost) {
  std::string pictured_hash;
  for (const char* point : {"before.commit", "after.commit"}) {
    int reached = 0;
    for (int n = 1; !HasFailure(); ++n) {
      SCOPED_TRACE(fmt::format("{}:{}", point, n));
      TemporaryFolder folder;
      const auto picture = picture_bytes(folder);
      Life life;
      {
        ServeProcess serve(folder / "data", {}, fmt::format("{}:{}", point, n));
        if (serve.started()) life = live(serve, picture);
        const auto settled = [&] {
          const auto made = serve.get(life.made), pictured = serve.get(life.pictured);
          return !made.is_null() && is_final(made) && !pictured.is_null() && is_final(pictured);
        };
        const auto end = steady_clock::now() + std::chrono::minutes(10);
        while (serve.running() && !settled() && steady_clock::now() < end)
          std::this_thread::sleep_for(milliseconds(30));
        if (serve.running()) {
          expect_kept(serve, life, pictured_hash);
          break;
        }
      }
      ++reached;
      ServeProcess again(folder / "data");
      ASSERT_TRUE(again.started());
      expect_kept(again, life, pictured_hash);
      // No file without a job, none twice.
      const auto jobs = again.ask("GET", "/v1/videos").json().at("data");
      for (const auto& job : jobs) again.wait_final(job.at("id"));
      const auto files = video_files(folder / "data");
      for (const auto& [file, count] : files) EXPECT_EQ(count, 1) << file;
      EXPECT_LE(files.size(), jobs.size());
    }
    std::printf("%s: killed %d times\n", point, reached);
    EXPECT_GT(reached, 20) << "too few to be all of a life";
  }
}
}  // namespace
}  // namespace seamwright

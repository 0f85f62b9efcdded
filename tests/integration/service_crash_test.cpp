// Nothing that was acknowledged is lost: the coordinator dies before and after every durable write,
// and coordinator and gangs die at random under load.
#include "tests/integration/service_crash.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <ctime>
#include <thread>

#include "coordinator/store/job_store.h"
#include "media/files.h"

namespace seamwright {
namespace {

using media::TemporaryFolder;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

class Failpoint : public testing::TestWithParam<const char*> {};

TEST_P(Failpoint, KilledThereNothingIsLost) { expect_nothing_lost_at(GetParam()); }

INSTANTIATE_TEST_SUITE_P(AroundEveryWrite, Failpoint,
                         testing::Values("before.migrate", "after.migrate", "before.submit",
                                         "after.submit", "before.attempt", "after.attempt",
                                         "before.record", "after.record", "before.segment",
                                         "between.segment", "after.segment",
                                         "before.segment_commit", "after.segment_commit",
                                         "before.done", "after.done", "before.video", "after.video",
                                         "before.publish", "after.publish"),
                         point_name);
// Killed around each write of a file that a job starts from: the job is there with its whole file,
// or neither is.
class InputFailpoint : public testing::TestWithParam<const char*> {};

TEST_P(InputFailpoint, KilledThereAJobAndItsFileStayTogether) {
  TemporaryFolder folder;
  const auto data = folder / "data";
  const auto picture = picture_bytes(folder);
  const std::string point = GetParam();
  const bool links = point.ends_with(".link");
  std::string source;
  if (links) {  // a remix takes the file over
    ServeProcess serve(data, {"--no-local-gang"});
    ASSERT_TRUE(serve.started());
    source = submit_with_picture(serve, picture);
    ASSERT_FALSE(source.empty());
  }
  {
    ServeProcess serve(data, {"--no-local-gang"}, point);
    ASSERT_TRUE(serve.started());
    if (links) {
      const auto answer =
          serve.ask("POST", "/v1/videos/" + source + "/remix", R"({"prompt": "x"})");
      EXPECT_EQ(answer.status, 0) << "it died before it answered";
    } else {
      EXPECT_EQ(submit_with_picture(serve, picture), "") << "it died before it answered";
    }
    expect_dies(serve);
  }
  ServeProcess again(data);
  ASSERT_TRUE(again.started());
  const auto jobs = again.ask("GET", "/v1/videos").json().at("data");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(data / "inputs")) {
    ++files;
    EXPECT_EQ(media::read_file(entry.path(), 1 << 20), picture) << entry.path();
  }
  EXPECT_EQ(files, jobs.size());
  EXPECT_EQ(jobs.size(), (links ? 1U : 0U) + (point == "after.submit" ? 1U : 0U));
  const auto next = submit_with_picture(again, picture);
  ASSERT_FALSE(next.empty());
  const auto hash = again.wait_final(next).at("latents_sha256");
  for (const auto& job : jobs) {
    EXPECT_EQ(again.wait_final(job.at("id").get<std::string>()).at("latents_sha256"), hash);
  }
}

INSTANTIATE_TEST_SUITE_P(AroundEveryWrite, InputFailpoint,
                         testing::Values("before.input", "between.input", "after.input",
                                         "before.link", "between.link", "after.link",
                                         "before.submit", "after.submit"),
                         point_name);

TEST(ServiceCrash, CancelAndRemoveSurviveKills) {
  for (const char* point : {"before.cancel", "after.cancel", "before.remove", "after.remove"}) {
    TemporaryFolder folder;
    const bool removes = std::string(point).find("remove") != std::string::npos;
    std::string id;
    {
      ServeProcess serve(folder / "data", {"--no-local-gang"}, point);
      ASSERT_TRUE(serve.started());
      id = serve.submit(tiny_request());
      ASSERT_FALSE(id.empty());
      const auto answer = removes ? serve.ask("DELETE", "/v1/videos/" + id)
                                  : serve.ask("POST", "/v1/videos/" + id + "/cancel");
      EXPECT_EQ(answer.status, 0) << "it died before it answered";
    }
    ServeProcess again(folder / "data", {"--no-local-gang"});
    ASSERT_TRUE(again.started());
    const auto video = again.get(id);
    const bool before = std::string(point).starts_with("before");
    if (before) {
      EXPECT_EQ(video.at("status"), "queued") << point;
    } else if (removes) {
      EXPECT_TRUE(video.is_null()) << point;
    } else {
      EXPECT_EQ(video.at("error").at("code"), "cancelled") << point;
    }
  }
}

std::int64_t unix_seconds() { return static_cast<std::int64_t>(std::time(nullptr)); }

// Puts one job of 23 frames into a fresh store; its id.
std::string store_job(const std::filesystem::path& data,
                      const std::function<void(coordinator::JobRecord&)>& change) {
  std::filesystem::create_directories(data);
  coordinator::JobStore store(data / "jobs.db");
  coordinator::JobRecord record;
  record.view.id = "video_" + std::string(32, '1');
  record.arrival = 1;
  record.view.created_at = unix_seconds() - 2000;
  auto& request = record.view.submission.request;
  request.model = "unetmotion3";
  request.prompt = "a red circle";
  request.frames = 23;
  request.window = 8;
  request.overlap = 4;
  request.width = 64;
  request.height = 48;
  change(record);
  store.commit([&] { store.put_job(record); });
  return record.view.id;
}

// A gang is lost, and the service with it before it has said so, or as it has.
TEST(ServiceCrash, ALossIsOvercomeAlsoWhereItIsBeingStored) {
  for (const char* point : {"before.lose", "after.lose"}) {
    TemporaryFolder folder;
    AcknowledgedJobs jobs;
    {
      ServeProcess serve(folder / "data", {}, point);
      ASSERT_TRUE(serve.started());
      const auto request = tiny_request(60, 1);
      const auto id = serve.submit(request);
      ASSERT_FALSE(id.empty());
      jobs.acknowledged(id, request);
      serve.wait_for(id, [](const auto& v) { return v.at("evaluations_done") > 5; });
      for (const pid_t pid : serve.gang_processes()) ::kill(pid, SIGKILL);
      expect_dies(serve);
    }
    ServeProcess again(folder / "data");
    ASSERT_TRUE(again.started());
    jobs.look(again);
    jobs.expect_all_done(again, folder / "data");
  }
}

// A job that its gang refuses, which only another program's store has.
TEST(ServiceCrash, AFailureIsToldOnceAlsoWhereItIsBeingStored) {
  for (const char* point : {"before.fail", "after.fail"}) {
    TemporaryFolder folder;
    const auto id = store_job(folder / "data", [](coordinator::JobRecord& job) {
      job.view.submission.request.width = 0;
    });
    {
      ServeProcess serve(folder / "data", {}, point);
      expect_dies(serve);
    }
    ServeProcess again(folder / "data");
    ASSERT_TRUE(again.started());
    EXPECT_EQ(again.wait_final(id).at("error").at("code"), "invalid_request");
  }
}

TEST(ServiceCrash, AVideoThatExpiresIsWholeOrGone) {
  for (const char* point : {"before.expire", "after.expire"}) {
    TemporaryFolder folder;
    const auto file = folder / "data/videos/old.mp4";
    const auto id = store_job(folder / "data", [](coordinator::JobRecord& job) {
      job.view.state = coordinator::JobState::kCompleted;
      job.view.completed_at = unix_seconds() - 1000;
      job.view.expires_at = unix_seconds() - 10;
    });
    {
      coordinator::JobStore store(folder / "data/jobs.db");
      std::filesystem::create_directories(file.parent_path());
      media::write_file_atomically(file, "a video");
      store.commit([&] { store.put_artifact({id, 1, "video", 0, 23, "videos/old.mp4", 7, "{}"}); });
    }
    {
      ServeProcess serve(folder / "data", {"--no-local-gang"}, point);
      expect_dies(serve);
    }
    EXPECT_TRUE(std::filesystem::exists(file)) << "a file goes only once that is stored";
    ServeProcess again(folder / "data", {"--no-local-gang"});
    ASSERT_TRUE(again.started());
    again.wait_for(id, [](const auto& v) { return v.at("content_expired").template get<bool>(); });
    EXPECT_EQ(again.ask("GET", "/v1/videos/" + id + "/content").status, 410);
    const auto end = steady_clock::now() + std::chrono::minutes(1);
    while (std::filesystem::exists(file) && steady_clock::now() < end) {
      std::this_thread::sleep_for(milliseconds(20));
    }
    EXPECT_FALSE(std::filesystem::exists(file));
  }
}

TEST(ServiceCrash, ThirtyRandomKillsLoseNothing) { expect_nothing_lost_in_random_kills(30, 7); }

}  // namespace
}  // namespace seamwright

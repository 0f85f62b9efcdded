// The service as its callers see it: what it stores, lists, refuses, ends and forgets.
#include "coordinator/service/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "coordinator/service/data_folder.h"
#include "media/files.h"
#include "media/video_reader.h"
#include "tests/unit/coordinator/service_fixture.h"

namespace seamwright::coordinator {
namespace {

using testing::HasSubstr;

TEST_F(ServiceTest, MakesAVideoFromSegments) {
  const auto job = service->submit(submission());
  EXPECT_EQ(job.state, JobState::kQueued);
  EXPECT_EQ(wait(job.id, [](const JobView& v) { return v.queue_position == 0; }).waiting_for,
            "no gang is connected");
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  EXPECT_EQ(g.job, job.id);
  EXPECT_EQ(g.attempt, 1);
  g.progress(1, 4);
  wait(job.id, [](const JobView& v) { return v.progress == 25; });
  EXPECT_EQ(service->get(job.id, "").gang, "g");
  g.segment(0, 48);
  EXPECT_EQ(service->segments(job.id, "").closed.size(), 1U);
  EXPECT_THROW(service->video(job.id, ""), ApiError);
  g.finish(kFrames, 48);
  const auto done = wait_state(job.id, JobState::kCompleted);
  EXPECT_EQ(done.progress, 100);
  EXPECT_EQ(done.frames_done, kFrames);
  EXPECT_EQ(done.latents_sha256, fake_latents_sha256(kFrames));
  EXPECT_TRUE(done.expires_at.has_value());
  EXPECT_EQ(media::probe_video(service->video(job.id, "")).frames, kFrames);
  EXPECT_EQ(files("videos"), 1U);
}

TEST_F(ServiceTest, JobsSurviveARestart) {
  const auto job = service->submit(submission());
  start();
  EXPECT_EQ(service->get(job.id, "").state, JobState::kQueued);
  {
    FakeGang g(service->control_port(), "g");
    g.take_attempt();
    g.finish(kFrames);
    wait_state(job.id, JobState::kCompleted);
  }
  start();
  const auto again = service->get(job.id, "");
  EXPECT_EQ(again.state, JobState::kCompleted);
  EXPECT_EQ(again.latents_sha256, fake_latents_sha256(kFrames));
  EXPECT_EQ(media::probe_video(service->video(job.id, "")).frames, kFrames);
}

TEST_F(ServiceTest, IdempotencyKeysGiveTheSameJobOrAConflict) {
  auto s = submission();
  s.idempotency_key = "k";
  const auto first = service->submit(s);
  EXPECT_EQ(service->submit(s).id, first.id);
  start();
  EXPECT_EQ(service->submit(s).id, first.id) << "keys are durable";
  s.request.prompt = "a blue square";
  try {
    service->submit(s);
    FAIL() << "another body under the same key";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 409);
    EXPECT_EQ(error.code, "idempotency_key_reused");
  }
  s.owner = "ann";
  EXPECT_NE(service->submit(s).id, first.id) << "keys belong to their owner";
  EXPECT_EQ(service->list("", 100, false, "").jobs.size(), 2U);
}

TEST_F(ServiceTest, TheQueueHasPlacesReasonsAndALimit) {
  FakeGang g(service->control_port(), "g");
  const auto running = service->submit(submission());
  g.take_attempt();
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    auto s = submission();
    s.priority = i == 4 ? 7 : 0;
    ids.push_back(service->submit(s).id);
  }
  const auto urgent = wait(ids[4], [](const JobView& v) { return v.queue_position == 0; });
  EXPECT_THAT(urgent.waiting_for, HasSubstr("gang g is busy"));
  wait(ids[0], [](const JobView& v) { return v.queue_position == 1; });
  EXPECT_EQ(service->get(running.id, "").queue_position, std::nullopt);
  try {
    service->submit(submission());
    FAIL() << "the queue is full";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 429);
    EXPECT_EQ(error.code, "queue_full");
    EXPECT_GT(error.retry_after_s, 0);
  }
  service->cancel(ids[0], "");
  service->submit(submission());
}

TEST_F(ServiceTest, OwnersSeeTheirOwnAlone) {
  auto s = submission();
  s.owner = "ann";
  const auto job = service->submit(s);
  EXPECT_THROW(service->get(job.id, "bob"), ApiError);
  EXPECT_THROW(service->cancel(job.id, "bob"), ApiError);
  EXPECT_THROW(service->remove(job.id, "bob"), ApiError);
  EXPECT_EQ(service->get(job.id, "ann").id, job.id);
  EXPECT_TRUE(service->list("", 100, false, "bob").jobs.empty());
  EXPECT_EQ(service->list("", 100, false, "ann").jobs.size(), 1U);
}

TEST_F(ServiceTest, CancelStopsWhatRunsAndWhatWaits) {
  const auto running = service->submit(submission());
  const auto waiting = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  EXPECT_EQ(service->cancel(waiting.id, "").error->code, "cancelled");
  EXPECT_THROW(service->cancel(waiting.id, ""), ApiError) << "final";
  service->cancel(running.id, "");
  EXPECT_EQ(g.wait_for("attempt.cancel").header.at("why"), "cancel");
  g.send(g.header("attempt.cancelled"));
  g.wait_for("attempt.closed");
  g.idle();
  EXPECT_EQ(wait_state(running.id, JobState::kFailed).error->code, "cancelled");
  service->submit(submission());
  g.take_attempt();
}

TEST_F(ServiceTest, RemovingARunningJobLeavesNothing) {
  const auto job = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  g.segment(0, 48);
  service->remove(job.id, "");
  EXPECT_THROW(service->get(job.id, ""), ApiError);
  g.wait_for("attempt.cancel");
  g.send(g.header("attempt.cancelled"));
  g.idle();
  const auto next = service->submit(submission());
  g.take_attempt();
  EXPECT_EQ(g.job, next.id);
  EXPECT_EQ(files("segments"), 0U);
}

TEST_F(ServiceTest, EventsAreNumberedKeptAndDelivered) {
  const auto job = service->submit(submission());
  std::mutex mutex;
  std::vector<JobEvent> events;
  const auto listen = [&](std::uint64_t after) {
    return service->subscribe(job.id, "", after, [&](const JobEvent& event) {
      const std::lock_guard lock(mutex);
      events.push_back(event);
    });
  };
  auto subscription = listen(0);
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  g.progress(1, 2);
  g.finish(kFrames);
  wait_state(job.id, JobState::kCompleted);
  subscription.reset();
  std::vector<JobEvent> live;
  {
    const std::lock_guard lock(mutex);
    live.swap(events);
  }
  ASSERT_GE(live.size(), 6U);
  for (std::size_t i = 0; i < live.size(); ++i) EXPECT_EQ(live[i].sequence, i + 1);
  EXPECT_EQ(live.front().data.at("state"), "queued");
  EXPECT_EQ(live.back().data.at("state"), "completed");
  start();
  subscription = listen(2);
  ASSERT_EQ(events.size(), live.size() - 2);
  EXPECT_EQ(events.front().sequence, 3U);
}

TEST_F(ServiceTest, FinishedFilesExpire) {
  service.reset();
  auto o = options();
  o.retention_s = 1;
  service = make_service(o);
  const auto job = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  g.finish(kFrames);
  wait_state(job.id, JobState::kCompleted);
  wait(job.id, [](const JobView& v) { return v.content_expired; });
  try {
    service->video(job.id, "");
    FAIL() << "it has expired";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 410);
  }
  EXPECT_EQ(service->get(job.id, "").state, JobState::kCompleted);
}

// The ffmpeg of a service that was killed ends its file after that.
TEST(DataFolder, RemovesDraftsOfAnotherProcess) {
  media::TemporaryFolder temporary;
  const DataFolder folder(temporary.path());
  const auto left = folder.file("videos/video_1-1.partial-999999999.mp4");
  const auto own = folder.file(fmt::format("videos/video_2-1.partial-{}.mp4", ::getpid()));
  const auto video = folder.file("videos/video_2-1.mp4");
  for (const auto& file : {left, own, video}) media::write_file_atomically(file, "x");
  folder.remove_left_drafts();
  EXPECT_FALSE(std::filesystem::exists(left));
  EXPECT_TRUE(std::filesystem::exists(own));
  EXPECT_TRUE(std::filesystem::exists(video));
}

TEST_F(ServiceTest, AnOwnerMayHaveItsNumberOfJobs) {
  auto s = submission();
  s.owner = "ann";
  s.active_jobs_max = 2;
  s.idempotency_key = "first";
  const auto first = service->submit(s);
  s.idempotency_key.clear();
  service->submit(s);
  const auto refused = [&] {
    try {
      service->submit(s);
    } catch (const ApiError& error) {
      return error.code;
    }
    return std::string();
  };
  EXPECT_EQ(refused(), "too_many_jobs");
  s.idempotency_key = "first";
  EXPECT_EQ(service->submit(s).id, first.id) << "a repeat is not another job";
  s.idempotency_key.clear();
  service->cancel(first.id, "ann");
  service->submit(s);
  EXPECT_EQ(refused(), "too_many_jobs");
  s.owner = "bob";
  service->submit(s);
}

TEST_F(ServiceTest, ManyAtOnceStayWithinTheirNumber) {
  std::vector<std::thread> clients;
  std::atomic<int> taken{0};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      auto s = submission();
      s.owner = "ann";
      s.active_jobs_max = 3;
      try {
        service->submit(s);
        ++taken;
      } catch (const ApiError&) {
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(taken, 3);
}

TEST_F(ServiceTest, JobsThatAreForgottenLeaveNothing) {
  service.reset();
  auto o = options();
  o.record_retention_s = 1;
  service = make_service(o);
  const auto job = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  auto preview = g.header("attempt.preview");
  preview["frame"] = 0;
  g.send(preview, comm::Bytes(10));
  g.finish(kFrames);
  const auto all = [&] {
    std::size_t count = 0;
    for (const char* part : {"videos", "segments", "previews", "timelines"}) count += files(part);
    return count;
  };
  for (int i = 0; i < 6000 && service->list("", 1, false, "").jobs.size() + all() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(all(), 0U);
}

TEST_F(ServiceTest, RefusesWhatTheCheckRefusesNamingTheField) {
  service.reset();
  auto o = options();
  o.check = [](const JobRequest& request, bool) -> JobRequest {
    fail(ErrorCode::kInvalidArgument, "window is {}, but at most 16 frames are allowed",
         request.window);
  };
  service = make_service(o);
  try {
    service->submit(submission());
    FAIL() << "it must be refused";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.param, "window");
  }
  EXPECT_TRUE(service->list("", 10, false, "").jobs.empty());
}

TEST_F(ServiceTest, OneServiceAtATimeHoldsAFolder) {
  try {
    make_service(options());
    FAIL() << "two services on one folder";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  }
}

TEST_F(ServiceTest, ListsPagesByCursor) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(service->submit(submission()).id);
  auto page = service->list("", 2, false, "");
  ASSERT_EQ(page.jobs.size(), 2U);
  EXPECT_EQ(page.jobs[0].id, ids[4]);
  EXPECT_TRUE(page.has_more);
  page = service->list(page.jobs[1].id, 100, false, "");
  ASSERT_EQ(page.jobs.size(), 3U);
  EXPECT_EQ(page.jobs[2].id, ids[0]);
  EXPECT_FALSE(page.has_more);
  page = service->list(ids[1], 2, true, "");
  EXPECT_EQ(page.jobs.at(0).id, ids[2]);
  try {
    service->list("video_none", 2, true, "");
    ADD_FAILURE() << "there is no such page";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 404);
    EXPECT_EQ(error.code, "invalid_cursor");
  }
}

}  // namespace
}  // namespace seamwright::coordinator

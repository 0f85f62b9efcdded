// The service with gangs that only speak: what it stores, hands out, refuses, loses and finds again.
#include "coordinator/service/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "media/video_reader.h"
#include "tests/unit/coordinator/fake_gang.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::coordinator {
namespace {

using media::TemporaryFolder;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr int kFrames = 60;

Submission submission(const std::string& prompt = "a red circle") {
  Submission s;
  s.request.model = "demo";
  s.request.prompt = prompt;
  s.request.frames = kFrames;
  s.request.width = 32;
  s.request.height = 16;
  return s;
}

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() { start(); }

  void start() {
    service.reset();
    service = make_service(options());
  }

  ServiceOptions options() {
    ServiceOptions o;
    o.data = folder / "data";
    o.token = kTestToken;
    o.lease = milliseconds(700);
    o.silence_limit = milliseconds(600);
    o.queue_limit = 5;
    return o;
  }

  JobView wait(const std::string& id, const std::function<bool(const JobView&)>& until) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    JobView view = service->get(id, "");
    while (!until(view) && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(milliseconds(10));
      view = service->get(id, "");
    }
    EXPECT_TRUE(until(view)) << to_string(view.state) << " " << view.waiting_for << " "
                             << (view.error ? view.error->message : "");
    return view;
  }
  JobView wait_state(const std::string& id, JobState state) {
    return wait(id, [state](const JobView& v) { return v.state == state; });
  }
  std::size_t files(const std::string& part) {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "data" / part)) {
      count += entry.is_regular_file() ? 1 : 0;
    }
    return count;
  }

  TemporaryFolder folder;
  std::unique_ptr<Service> service;
};

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

TEST_F(ServiceTest, ALostGangsJobGoesOnWithItsRecords) {
  const auto job = service->submit(submission());
  auto first = std::make_unique<FakeGang>(service->control_port(), "a");
  first->take_attempt();
  first->identity("x");
  first->record(3, 1, "latents");
  first->segment(0, 48);
  first->vanish();
  FakeGang second(service->control_port(), "b");
  second.take_attempt();
  EXPECT_EQ(second.job, job.id);
  EXPECT_EQ(second.attempt, 2);
  EXPECT_EQ(service->get(job.id, "").state, JobState::kInProgress) << "states move forward only";
  const auto left = nlohmann::json::parse(second.start.payload.begin(), second.start.payload.end(),
                                          [](int, auto, auto&) { return true; });
  EXPECT_EQ(left["segments"].size(), 1U);
  EXPECT_EQ(left["records"], nlohmann::json::parse("[[3,1]]"));
  EXPECT_EQ(left["identity"], nlohmann::json::parse(R"({"numerics":"x"})"));
  auto fetch = second.header("attempt.fetch");
  fetch["at"] = 3;
  fetch["level"] = 1;
  second.send(fetch);
  EXPECT_EQ(second.wait_for("attempt.record").payload.size(), 7U);
  second.identity("x");
  second.finish(kFrames, 48);
  EXPECT_EQ(wait_state(job.id, JobState::kCompleted).latents_sha256, fake_latents_sha256(kFrames));
}

TEST_F(ServiceTest, OtherNumericsBeginAgain) {
  const auto job = service->submit(submission());
  {
    FakeGang first(service->control_port(), "a");
    first.take_attempt();
    first.identity("x");
    first.segment(0, 48);
    first.vanish();
  }
  FakeGang second(service->control_port(), "b");
  second.take_attempt();
  second.identity("y");
  EXPECT_TRUE(service->segments(job.id, "").closed.empty());
  second.finish(kFrames);
  wait_state(job.id, JobState::kCompleted);
}

TEST_F(ServiceTest, StaleAttemptsAreRefused) {
  const auto job = service->submit(submission());
  auto a = std::make_unique<FakeGang>(service->control_port(), "a");
  a->take_attempt();
  a->vanish();
  FakeGang b(service->control_port(), "b");
  b.take_attempt();
  // The first gang comes back and does not know.
  FakeGang back(service->control_port(), "a", 1, {{"job", job.id}, {"attempt", 1}});
  EXPECT_EQ(back.wait_for("attempt.cancel").header.at("why"), "stale");
  back.segment(0, 48, false);
  back.send(back.header("attempt.done"));
  back.wait_for("attempt.closed");
  EXPECT_TRUE(service->segments(job.id, "").closed.empty());
  EXPECT_EQ(service->get(job.id, "").state, JobState::kInProgress);
  b.finish(kFrames);
  wait_state(job.id, JobState::kCompleted);
  EXPECT_EQ(files("segments"), 2U);
}

TEST_F(ServiceTest, AGangThatComesBackWithinTheLeaseGoesOn) {
  const auto job = service->submit(submission());
  auto a = std::make_unique<FakeGang>(service->control_port(), "a");
  a->take_attempt();
  a->segment(0, 48);
  a->vanish();
  FakeGang back(service->control_port(), "a", 1, {{"job", job.id}, {"attempt", 1}});
  back.finish(kFrames, 48);
  const auto done = wait_state(job.id, JobState::kCompleted);
  EXPECT_EQ(done.attempt, 1);
}

TEST_F(ServiceTest, GangsReattachToARestartedService) {
  const auto job = service->submit(submission());
  {
    FakeGang a(service->control_port(), "a");
    a.take_attempt();
    a.segment(0, 48);
    service.reset();
  }
  start();
  FakeGang back(service->control_port(), "a", 1, {{"job", job.id}, {"attempt", 1}});
  back.finish(kFrames, 48);
  EXPECT_EQ(wait_state(job.id, JobState::kCompleted).attempt, 1);
}

TEST_F(ServiceTest, ARestartedServiceWaitsForTheLeaseThenGivesTheJobAway) {
  const auto job = service->submit(submission());
  {
    FakeGang a(service->control_port(), "a");
    a.take_attempt();
    service.reset();
  }
  start();
  FakeGang b(service->control_port(), "b");
  EXPECT_FALSE(b.heard("attempt.start", milliseconds(300))) << "the lease is not over";
  b.take_attempt();
  EXPECT_EQ(b.attempt, 2);
}

TEST_F(ServiceTest, PoisonJobsFailWithAnExplanation) {
  const auto job = service->submit(submission());
  for (int i = 1; i <= 3; ++i) {
    FakeGang g(service->control_port(), "g", i);
    g.take_attempt();
    EXPECT_EQ(g.attempt, i);
    service->gang_ended("g", "it was ended by signal 11", true);
    wait(job.id, [](const JobView& v) { return v.gang.empty(); });
  }
  const auto failed = wait_state(job.id, JobState::kFailed);
  EXPECT_EQ(failed.error->code, "poison_job");
  EXPECT_THAT(failed.error->message, HasSubstr("signal 11"));
}

TEST_F(ServiceTest, LossesWithProgressInBetweenAreNotPoison) {
  const auto job = service->submit(submission());
  for (int i = 1; i <= 4; ++i) {
    FakeGang g(service->control_port(), "g", i);
    g.take_attempt();
    EXPECT_EQ(g.attempt, i);
    g.record(i, 1, "x");
    std::this_thread::sleep_for(milliseconds(300));  // the count follows with the next tick
    service->gang_ended("g", "it was ended by signal 9", true);
    wait(job.id, [](const JobView& v) { return v.gang.empty(); });
  }
  EXPECT_EQ(service->get(job.id, "").state, JobState::kInProgress);
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

TEST_F(ServiceTest, EndlessJobsEndCompletedAndMakeRoom) {
  auto s = submission();
  s.endless = true;
  const auto endless = service->submit(s);
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  g.segment(0, 48);
  const auto small = service->submit(submission());
  EXPECT_EQ(g.wait_for("attempt.cancel").header.at("why"), "preempt");
  auto cancelled = g.header("attempt.cancelled");
  cancelled["why"] = "preempt";
  g.send(cancelled);
  g.idle();
  g.take_attempt();
  EXPECT_EQ(g.job, small.id);
  g.finish(kFrames);
  wait_state(small.id, JobState::kCompleted);
  g.take_attempt();
  EXPECT_EQ(g.job, endless.id);
  service->cancel(endless.id, "");
  g.wait_for("attempt.cancel");
  g.send(g.header("attempt.cancelled"));
  g.idle();
  const auto done = wait_state(endless.id, JobState::kCompleted);
  EXPECT_EQ(done.frames_done, 48);
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

TEST_F(ServiceTest, DrainedGangsTakeNothingNewAndEnd) {
  const auto job = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  service->drain("g");
  const auto next = service->submit(submission());
  EXPECT_FALSE(g.heard("gang.end", milliseconds(300))) << "it still has work";
  g.finish(kFrames);
  wait_state(job.id, JobState::kCompleted);
  g.wait_for("gang.end");
  EXPECT_EQ(service->get(next.id, "").state, JobState::kQueued);
  EXPECT_THROW(service->drain("nonesuch"), ApiError);
}

TEST_F(ServiceTest, RefusesWhatTheCheckRefusesNamingTheField) {
  service.reset();
  auto o = options();
  o.check = [](const JobRequest& request) -> JobRequest {
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
  EXPECT_THROW(service->list("video_none", 2, true, ""), ApiError);
}

}  // namespace
}  // namespace seamwright::coordinator

// The service with gangs that only speak: what it hands out, loses and finds again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "coordinator/service/service.h"
#include "coordinator/store/record_store.h"
#include "media/video_reader.h"
#include "tests/unit/coordinator/service_fixture.h"

namespace seamwright::coordinator {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

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

TEST_F(ServiceTest, RecordsLeftByOtherNumericsAreNotOffered) {
  const auto job = service->submit(submission());
  {
    FakeGang first(service->control_port(), "a");
    first.take_attempt();
    first.identity("x");
    first.record(3, 1, "latents");
    service.reset();
  }
  {
    // As a crash between the commit of the identity and the removal of older records leaves it.
    RecordStore records(folder / "data" / "records.db");
    records.save(job.id, R"({"numerics":"older"})", {5, 1}, {});
  }
  start();
  FakeGang second(service->control_port(), "b");
  second.take_attempt();
  const auto left = nlohmann::json::parse(second.start.payload.begin(), second.start.payload.end());
  EXPECT_EQ(left["records"], nlohmann::json::parse("[[3,1]]"));
  auto fetch = second.header("attempt.fetch");
  fetch["at"] = 5;
  fetch["level"] = 1;
  second.send(fetch);
  EXPECT_EQ(second.wait_for("attempt.refused").header.at("code"), "unreadable_record");
}

// A link that broke and came back: what was not yet acknowledged is sent again.
TEST_F(ServiceTest, ASegmentSentAgainCountsOnce) {
  const auto job = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  for (int i = 0; i < 4; ++i) g.segment(0, 48, false);
  for (int i = 0; i < 4; ++i) g.wait_for("attempt.segment_saved");
  EXPECT_EQ(service->segments(job.id, "").closed.size(), 1U);
  g.finish(kFrames, 48);
  const auto done = wait_state(job.id, JobState::kCompleted);
  EXPECT_EQ(done.latents_sha256, fake_latents_sha256(kFrames));
  EXPECT_EQ(media::probe_video(service->video(job.id, "")).frames, kFrames);
}

TEST_F(ServiceTest, ANameBelongsToTheGangThatIsThere) {
  FakeGang first(service->control_port(), "g", 1);
  const auto job = service->submit(submission());
  first.take_attempt();
  FakeGang second(service->control_port(), "g", 2);
  for (int i = 0; i < 1000 && second.connected(); ++i)
    std::this_thread::sleep_for(milliseconds(10));
  EXPECT_FALSE(second.connected());
  EXPECT_TRUE(first.connected());
  first.finish(kFrames);
  wait_state(job.id, JobState::kCompleted);
  // Started again after its end, it gets in.
  first.vanish();
  const auto next = service->submit(submission());
  FakeGang third(service->control_port(), "g", 3);
  third.take_attempt();
  EXPECT_EQ(third.job, next.id);
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

// The start waits for files that are being written; the cancel must not overtake it.
TEST_F(ServiceTest, ACancelComesAfterTheStartThatItIsAbout) {
  FakeGang busy(service->control_port(), "busy");
  const auto first = service->submit(submission());
  busy.take_attempt();
  const auto pipe = folder / "data/previews" / (first.id + ".png.tmp");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  auto preview = busy.header("attempt.preview");
  preview["frame"] = 0;
  std::atomic<bool> came{false};
  const auto subscription = service->subscribe(
      first.id, "", 0, [&](const JobEvent& event) { came = came || event.kind == "preview"; });
  busy.send(preview, comm::Bytes(10));  // blocks whoever writes it until somebody reads
  for (int i = 0; i < 2000 && !came; ++i) std::this_thread::sleep_for(milliseconds(10));
  ASSERT_TRUE(came);
  FakeGang other(service->control_port(), "other");
  const auto second = service->submit(submission());
  wait_state(second.id, JobState::kInProgress);
  service->cancel(second.id, "");
  EXPECT_FALSE(other.heard("attempt.cancel", milliseconds(300)));
  std::ifstream reader(pipe);
  other.take_attempt();
  EXPECT_EQ(other.job, second.id);
  EXPECT_EQ(other.wait_for("attempt.cancel").header.at("job"), second.id);
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

// Another process of the gang takes the job, says that it is at
// `phase` of it ("" = nothing), and ends.
void lose_at(Service& service, const std::string& id, int instance, const std::string& phase) {
  FakeGang g(service.control_port(), "g", instance);
  g.take_attempt();
  EXPECT_EQ(g.attempt, instance);
  if (!phase.empty()) {
    auto header = g.header("attempt.progress");
    header["phase"] = phase;
    g.send(header);
    const auto listed = [&] {
      const auto gangs = service.cluster().at("gangs");
      return gangs.size() == 1 && gangs[0].at("phase") == phase;
    };
    for (int i = 0; i < 1000 && !listed(); ++i) std::this_thread::sleep_for(milliseconds(10));
    EXPECT_TRUE(listed());
  }
  service.gang_ended("g", "it was ended by signal 11", true);
  for (int i = 0; i < 1000 && !service.get(id, "").gang.empty(); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
}

TEST_F(ServiceTest, PoisonJobsFailWithAnExplanation) {
  const auto job = service->submit(submission());
  for (int i = 1; i <= 3; ++i) lose_at(*service, job.id, i, "running");
  const auto failed = wait_state(job.id, JobState::kFailed);
  EXPECT_EQ(failed.error->code, "poison_job");
  EXPECT_THAT(failed.error->message, HasSubstr("signal 11"));
}

// A gang that can still say what is wrong names it better than the service.
TEST_F(ServiceTest, AttemptsThatFailForTheSameReasonGiveTheJobThatName) {
  const auto job = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  for (int i = 1; i <= 3; ++i) {
    g.take_attempt();
    EXPECT_EQ(g.attempt, i);
    g.progress(1, 10);
    auto failed = g.header("attempt.failed");
    failed["code"] = "out_of_disk";
    failed["message"] = "the disk is full";
    failed["retryable"] = true;
    g.send(failed);
    g.wait_for("attempt.closed");
    g.idle();
  }
  const auto failed = wait_state(job.id, JobState::kFailed);
  EXPECT_EQ(failed.error->code, "out_of_disk");
  EXPECT_THAT(failed.error->message, HasSubstr("3 attempts in a row failed"));
}

TEST_F(ServiceTest, LossesBeforeOrElsewhereInTheWorkAreNotPoison) {
  const auto job = service->submit(submission());
  const std::vector<std::string> phases = {"", "", "", "running", "running", "loading", "running"};
  for (std::size_t i = 0; i < phases.size(); ++i) {
    lose_at(*service, job.id, static_cast<int>(i) + 1, phases[i]);
  }
  EXPECT_EQ(service->get(job.id, "").state, JobState::kInProgress);
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

}  // namespace
}  // namespace seamwright::coordinator

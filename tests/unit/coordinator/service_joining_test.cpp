// How pieces become a video where that fails: what may pass is tried again, and pieces are kept.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "media/video_reader.h"
#include "tests/unit/coordinator/service_fixture.h"

namespace seamwright::coordinator {
namespace {

// In the way of the file that a video is put together in, as a full disk or a killed ffmpeg is.
class Obstacle {
 public:
  explicit Obstacle(const std::filesystem::path& at) : at_(at) {
    std::filesystem::create_directories(at_ / "x");
  }
  ~Obstacle() { std::filesystem::remove_all(at_); }
  Obstacle(const Obstacle&) = delete;
  Obstacle& operator=(const Obstacle&) = delete;

 private:
  std::filesystem::path at_;
};

class Joining : public ServiceTest {
 protected:
  Joining() {
    service.reset();
    auto o = options();
    o.assembly_pause = std::chrono::milliseconds(10);
    service = make_service(o);
  }
  std::filesystem::path partial(const std::string& id) {
    const auto name = fmt::format("{}-1.partial-{}.partial.mp4", id, ::getpid());
    return folder / "data" / "videos" / name;
  }
  // The job has tried to put its video together, and failed.
  void wait_failed_try(const std::string& id) {
    std::atomic<bool> seen{false};
    const auto subscription = service->subscribe(id, "", 0, [&](const JobEvent& event) {
      if (event.kind == "log") seen = true;
    });
    for (int i = 0; i < 6000 && !seen; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_TRUE(seen);
  }
};

TEST_F(Joining, IsTriedAgainWhenItFails) {
  const auto job = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  {
    const Obstacle obstacle(partial(job.id));
    g.finish(kFrames);
    wait_failed_try(job.id);
    EXPECT_EQ(service->get(job.id, "").state, JobState::kInProgress);
  }
  const auto done = wait_state(job.id, JobState::kCompleted);
  EXPECT_EQ(media::probe_video(service->video(job.id, "")).frames, kFrames);
}

TEST_F(Joining, OfAnEndlessJobSurvivesASecondCancel) {
  auto s = submission();
  s.endless = true;
  const auto job = service->submit(s);
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  g.segment(0, 48);
  {
    const Obstacle obstacle(partial(job.id));
    service->cancel(job.id, "");
    g.wait_for("attempt.cancel");
    g.send(g.header("attempt.cancelled"));
    wait_failed_try(job.id);
    EXPECT_EQ(service->cancel(job.id, "").state, JobState::kInProgress);
  }
  wait_state(job.id, JobState::kCompleted);
}

TEST_F(Joining, OfPiecesThatCannotBeUsedFailsAndKeepsThem) {
  const auto job = service->submit(submission());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  g.segment(0, 48);
  std::ofstream(folder / "data" / "segments" / (job.id + "-1-0.mp4")) << "no video";
  g.finish(kFrames, 48);
  EXPECT_EQ(wait_state(job.id, JobState::kFailed).error->code, "assembly_failed");
  EXPECT_EQ(service->segments(job.id, "").closed.size(), 2U);
  start();
  EXPECT_EQ(service->segments(job.id, "").closed.size(), 2U);
}

}  // namespace
}  // namespace seamwright::coordinator

// A full disk under the service: a named refusal, nothing
// corrupt, and it goes on once there is room.
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "coordinator/service/service.h"
#include "tests/unit/coordinator/fake_gang.h"
#include "tests/unit/media/small_disk.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::coordinator {
namespace {

namespace fs = std::filesystem;
using media::SmallDisk;
using std::chrono::milliseconds;

Submission submission() {
  Submission s;
  s.request.model = "demo";
  s.request.prompt = "a red circle";
  s.request.frames = 60;
  s.request.width = 32;
  s.request.height = 16;
  return s;
}

// One kind of file at a time: the rest of the data folder has
// room, a small disk lies under one part.
class FullPart : public testing::Test {
 protected:
  // False after a skip.
  bool start(const std::string& part) {
    part_ = folder_ / "data" / part;
    disk_ = std::make_unique<SmallDisk>(part_, "size=256k");
    if (!disk_->mounted()) return false;
    ServiceOptions options;
    options.data = folder_ / "data";
    options.token = kTestToken;
    service_ = make_service(options);
    return true;
  }
  void TearDown() override {
    service_.reset();
    if (disk_ && !disk_->mounted()) GTEST_SKIP() << "no small disk here: " << disk_->why();
  }
  static Submission with_picture(char shade) {
    auto s = submission();
    const std::string bytes(20'000, shade);
    s.request.init_image = std::string("sha256:") + shade;
    s.files = {{s.request.init_image, std::make_shared<const std::string>(bytes)}};
    return s;
  }
  void expect_refused(const Submission& s) {
    try {
      service_->submit(s);
      ADD_FAILURE() << "there is no room for its file";
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, 507);
      EXPECT_EQ(error.code, "out_of_disk");
    }
  }
  JobView ended(const std::string& id, JobState state) {
    for (int i = 0; i < 6000 && service_->get(id, "").state != state; ++i) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_EQ(service_->get(id, "").state, state);
    return service_->get(id, "");
  }
  // What lies in the part but for what fills it.
  std::size_t files() const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(part_))
      count += entry.path().filename() != "filler";
    return count;
  }
  // A job that needs nothing special, from its start to its end.
  void expect_goes_on(FakeGang& gang) {
    const auto id = service_->submit(submission()).id;
    gang.take_attempt();
    gang.finish(60);
    ended(id, JobState::kCompleted);
  }

  media::TemporaryFolder folder_;
  fs::path part_;
  std::unique_ptr<SmallDisk> disk_;
  std::unique_ptr<Service> service_;
};

TEST_F(FullPart, InputsRefuseTheUploadAndLeaveNothing) {
  if (!start("inputs")) return;
  const auto first = service_->submit(with_picture('a'));
  EXPECT_EQ(files(), 1U);
  disk_->fill();
  expect_refused(with_picture('b'));
  EXPECT_EQ(files(), 1U);
  EXPECT_EQ(service_->list("", 10, false, "").jobs.size(), 1U);
  disk_->make_room();
  service_->submit(with_picture('b'));
  EXPECT_EQ(files(), 2U);
  EXPECT_EQ(service_->get(first.id, "").state, JobState::kQueued);
}

TEST_F(FullPart, InputsRefuseToTakeAVideoOverFromAnotherDisk) {
  if (!start("inputs")) return;
  FakeGang gang(service_->control_port(), "g");
  const auto source = service_->submit(submission()).id;
  gang.take_attempt();
  gang.finish(60);
  ended(source, JobState::kCompleted);
  auto further = submission();
  further.request.extend = source;
  further.remixed_from = source;
  further.files = {{source, nullptr}};
  disk_->fill();
  expect_refused(further);
  EXPECT_EQ(files(), 0U);
  disk_->make_room();
  service_->submit(further);
  EXPECT_EQ(files(), 1U);
}

TEST_F(FullPart, SegmentsAreRefusedAndLeaveNothing) {
  if (!start("segments")) return;
  FakeGang gang(service_->control_port(), "g");
  const auto id = service_->submit(submission()).id;
  gang.take_attempt();
  disk_->fill();
  gang.segment(0, 48, false);
  EXPECT_EQ(gang.wait_for("attempt.refused").header.at("code"), "out_of_disk");
  EXPECT_EQ(files(), 0U);
  disk_->make_room();
  gang.finish(60);
  ended(id, JobState::kCompleted);
}

// The job says so at once, or waits for room: either is an end that its owner understands.
TEST_F(FullPart, VideosNameTheDiskOrWaitForRoom) {
  if (!start("videos")) return;
  FakeGang gang(service_->control_port(), "g");
  const auto id = service_->submit(submission()).id;
  gang.take_attempt();
  disk_->fill();
  gang.finish(60);
  for (int i = 0; i < 100 && service_->get(id, "").state == JobState::kInProgress; ++i) {
    std::this_thread::sleep_for(milliseconds(30));
  }
  EXPECT_NE(service_->get(id, "").state, JobState::kCompleted);
  // While it is tried again, a partial file comes and goes.
  for (int i = 0; i < 6000 && files() > 0; ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(files(), 0U);
  disk_->make_room();
  JobView job = service_->get(id, "");
  for (int i = 0; i < 12'000 && job.state == JobState::kInProgress; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
    job = service_->get(id, "");
  }
  if (job.state == JobState::kFailed) {
    ASSERT_TRUE(job.error);
    EXPECT_EQ(job.error->code, "out_of_disk") << job.error->message;
  } else {
    EXPECT_EQ(job.state, JobState::kCompleted);
    EXPECT_EQ(files(), 1U);
  }
  expect_goes_on(gang);
}

TEST_F(FullPart, PreviewsAndTimelinesAreDoneWithout) {
  for (const char* part : {"previews", "timelines"}) {
    if (!start(part)) return;
    {
      FakeGang gang(service_->control_port(), "g");
      const auto id = service_->submit(submission()).id;
      gang.take_attempt();
      disk_->fill();
      auto preview = gang.header("attempt.preview");
      preview["frame"] = 3;
      gang.send(preview, comm::Bytes(10'000));
      gang.finish(60);
      ended(id, JobState::kCompleted);
      EXPECT_NO_THROW(service_->timeline(id, ""));
      EXPECT_EQ(files(), 0U) << part;
      disk_->make_room();
      expect_goes_on(gang);
    }
    service_.reset();
    disk_.reset();
    fs::remove_all(folder_ / "data");
  }
}

TEST(FullDisk, IsNamedAndTheServiceGoesOn) {
  media::TemporaryFolder folder;
  const SmallDisk disk(folder / "disk");
  if (!disk.mounted()) GTEST_SKIP() << "no small disk can be mounted here: " << disk.why();
  ServiceOptions options;
  options.data = disk.path() / "data";
  options.token = kTestToken;
  const auto wait_state = [](Service& service, const std::string& id, JobState state) {
    for (int i = 0; i < 2000 && service.get(id, "").state != state; ++i) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_EQ(service.get(id, "").state, state);
  };
  std::string kept, failed;
  {
    const auto service = make_service(options);
    kept = service->submit(submission()).id;
    FakeGang gang(service->control_port(), "g");
    gang.take_attempt();
    disk.fill();
    // A submission is refused, not half taken.
    try {
      service->submit(submission());
      ADD_FAILURE() << "there is no room for a job";
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, 507);
      EXPECT_EQ(error.code, "out_of_disk");
    }
    EXPECT_EQ(service->list("", 10, false, "").jobs.size(), 1U);
    EXPECT_FALSE(service->health().ready);
    // So is a record.
    auto record = gang.header("attempt.record");
    record["at"] = 0;
    record["level"] = 1;
    gang.send(record, comm::Bytes(200'000));
    EXPECT_EQ(gang.wait_for("attempt.refused").header.at("code"), "out_of_disk");
    // So is a segment.
    gang.segment(0, 48, false);
    EXPECT_EQ(gang.wait_for("attempt.refused").header.at("code"), "out_of_disk");
    auto end = gang.header("attempt.failed");
    end["code"] = "out_of_disk";
    end["message"] = "no room";
    end["retryable"] = false;
    gang.send(end);
    std::this_thread::sleep_for(milliseconds(300));
    disk.make_room();
    wait_state(*service, kept, JobState::kFailed);
    EXPECT_EQ(service->get(kept, "").error->code, "out_of_disk");
    gang.idle();
    failed = kept;
    kept = service->submit(submission()).id;
    gang.take_attempt();
    gang.finish(60);
    wait_state(*service, kept, JobState::kCompleted);
    EXPECT_TRUE(service->health().reasons.empty());
  }
  const auto again = make_service(options);
  EXPECT_EQ(again->get(kept, "").state, JobState::kCompleted);
  EXPECT_EQ(again->get(failed, "").state, JobState::kFailed);
}

}  // namespace
}  // namespace seamwright::coordinator

// A full disk under the service: a named refusal, nothing corrupt, and it goes on once there is room.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include "coordinator/service/service.h"
#include "tests/unit/coordinator/fake_gang.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::coordinator {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class SmallDisk {
 public:
  explicit SmallDisk(fs::path at) : at_(std::move(at)) {
    fs::create_directories(at_);
    mounted_ = ::mount("tmpfs", at_.c_str(), "tmpfs", 0, "size=4m") == 0;
    why_ = std::strerror(errno);
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& why() const { return why_; }
  const fs::path& path() const { return at_; }
  void fill() const {
    std::ofstream file(at_ / "filler", std::ios::binary | std::ios::app);
    const std::string block(4096, 'x');
    while (file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  void make_room() const { fs::remove(at_ / "filler"); }

 private:
  fs::path at_;
  bool mounted_ = false;
  std::string why_;
};

Submission submission() {
  Submission s;
  s.request.model = "demo";
  s.request.prompt = "a red circle";
  s.request.frames = 60;
  s.request.width = 32;
  s.request.height = 16;
  return s;
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

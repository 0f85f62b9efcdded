// A service over a fresh folder, and a submission for it.
// Threads: one test thread.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>

#include "coordinator/service/service.h"
#include "tests/unit/coordinator/fake_gang.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::coordinator {

inline constexpr int kFrames = 60;

inline Submission submission(const std::string& prompt = "a red circle") {
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
    o.lease = std::chrono::milliseconds(700);
    o.silence_limit = std::chrono::milliseconds(600);
    o.queue_limit = 5;
    return o;
  }

  JobView wait(const std::string& id, const std::function<bool(const JobView&)>& until) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    JobView view = service->get(id, "");
    while (!until(view) && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
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

  media::TemporaryFolder folder;
  std::unique_ptr<Service> service;
};

}  // namespace seamwright::coordinator

#include "tests/integration/service_crash.h"

#include <signal.h>

#include <random>
#include <thread>

#include "media/files.h"
#include "media/image.h"

namespace seamwright {
namespace {

using media::TemporaryFolder;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Killed at random, a job is not to blame for its gangs.
const std::vector<std::string> kTwoGangs = {"--gangs", "2", "--losses-max", "1000"};

int rank_of(const std::string& status) {
  return status.empty() ? -1 : status == "queued" ? 0 : status == "in_progress" ? 1 : 2;
}

}  // namespace

std::map<std::string, int> video_files(const std::filesystem::path& data) {
  std::map<std::string, int> files;
  for (const auto& entry : std::filesystem::directory_iterator(data / "videos")) {
    const auto name = entry.path().filename().string();
    // An ffmpeg of the killed service ends after it; its draft goes within half a minute.
    if (name.find(".partial-") != std::string::npos) continue;
    ++files[name.substr(0, name.find('-'))];
  }
  return files;
}

void AcknowledgedJobs::look(ServeProcess& serve) {
  for (const auto& [id, request] : requests_) {
    const auto video = serve.get(id);
    if (video.is_null()) {
      // It may have died between two questions; a live service has to know it.
      EXPECT_FALSE(serve.running() && serve.ask("GET", "/livez").status == 200 &&
                   serve.ask("GET", "/v1/videos/" + id).status == 404)
          << id << " was acknowledged and is gone";
      continue;
    }
    const auto status = video.at("status").get<std::string>();
    EXPECT_GE(rank_of(status), rank_of(seen_[id]))
        << id << " went from " << seen_[id] << " to " << status;
    if (rank_of(seen_[id]) == 2) {
      EXPECT_EQ(status, seen_[id]);
    }
    seen_[id] = status;
  }
}

void AcknowledgedJobs::expect_all_done(ServeProcess& serve, const std::filesystem::path& data) {
  for (const auto& [id, request] : requests_) {
    const auto video = serve.wait_final(id);
    EXPECT_EQ(video.at("status"), "completed") << video.dump(2);
    EXPECT_EQ(video.at("latents_sha256"), undisturbed_hash(request)) << id;
  }
  const auto files = video_files(data);
  for (const auto& [id, request] : requests_) EXPECT_EQ(files.count(id), 1U) << id;
  // A job may be stored although its client never heard: then it is made, once.
  for (const auto& [id, count] : files) {
    EXPECT_EQ(count, 1) << id;
    EXPECT_FALSE(serve.get(id).is_null()) << "a file belongs to nobody: " << id;
  }
}

void expect_dies(ServeProcess& serve) {
  const auto end = steady_clock::now() + std::chrono::minutes(5);
  while (serve.running() && steady_clock::now() < end)
    std::this_thread::sleep_for(milliseconds(20));
  EXPECT_FALSE(serve.running()) << "the failpoint was never reached";
}

void expect_nothing_lost_at(const std::string& point) {
  TemporaryFolder folder;
  AcknowledgedJobs jobs;
  bool died = false;
  {
    ServeProcess serve(folder / "data", {}, point);
    if (serve.started()) {
      jobs.acknowledged(serve.submit(tiny_request(60, 1)), tiny_request(60, 1));
      jobs.acknowledged(serve.submit(tiny_request(23, 2)), tiny_request(23, 2));
    }
    const auto end = steady_clock::now() + std::chrono::minutes(5);
    while (serve.running() && steady_clock::now() < end) {
      if (serve.started()) jobs.look(serve);
      std::this_thread::sleep_for(milliseconds(30));
    }
    died = !serve.running();
  }
  EXPECT_TRUE(died) << "the failpoint was never reached";
  ServeProcess again(folder / "data");
  ASSERT_TRUE(again.started());
  jobs.look(again);
  jobs.acknowledged(again.submit(tiny_request(23, 1)), tiny_request(23, 1));
  jobs.expect_all_done(again, folder / "data");
}

std::string picture_bytes(TemporaryFolder& folder) {
  media::RgbImage image(64, 48);
  for (int i = 0; i < 64 * 48 * 3; ++i) image.at(0, 0)[i] = static_cast<std::uint8_t>(i % 251);
  media::write_png(folder / "p.png", image.view());
  return media::read_file(folder / "p.png", 1 << 20);
}

std::string submit_with_picture(ServeProcess& serve, const std::string& picture) {
  std::string body;
  const auto request = tiny_request();
  for (const auto& [name, value] : request.items()) {
    body += "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" +
            (value.is_string() ? value.get<std::string>() : value.dump()) + "\r\n";
  }
  body +=
      "--B\r\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"p.png\"\r\n"
      "Content-Type: image/png\r\n\r\n" +
      picture + "\r\n--B--\r\n";
  try {
    const auto answer = coordinator::http::ask(serve.port(), "POST", "/v1/videos", body,
                                               "Content-Type: multipart/form-data; boundary=B\r\n");
    return answer.status == 200 ? answer.json().at("id").get<std::string>() : "";
  } catch (const std::exception&) {
    return {};
  }
}

void expect_nothing_lost_in_random_kills(int kills, std::uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  TemporaryFolder folder;
  const auto data = folder / "data";
  AcknowledgedJobs jobs;
  auto serve = std::make_unique<ServeProcess>(data, kTwoGangs);
  ASSERT_TRUE(serve->started());
  for (int kill = 0; kill < kills; ++kill) {
    if (jobs.size() < static_cast<std::size_t>(4 + kills / 4)) {
      const auto request = tiny_request(kill % 3 == 0 ? 60 : 23, kill % 4);
      jobs.acknowledged(serve->submit(request), request);
    }
    std::this_thread::sleep_for(milliseconds(random() % 900));
    jobs.look(*serve);
    if (random() % 3 == 0) {
      serve->kill_now();
      serve = std::make_unique<ServeProcess>(data, kTwoGangs);
      ASSERT_TRUE(serve->started());
    } else {
      const auto processes = serve->gang_processes();
      if (!processes.empty()) ::kill(processes[random() % processes.size()], SIGKILL);
    }
  }
  jobs.look(*serve);
  jobs.expect_all_done(*serve, data);
  EXPECT_EQ(serve->stop(), 0);
  EXPECT_TRUE(serve->gang_processes().empty()) << "orphans";
}

}  // namespace seamwright

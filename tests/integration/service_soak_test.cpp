// An hour of small jobs one after another, of every kind, each removed when its file was fetched:
// memory, file descriptors, threads and disk end where they were.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "media/files.h"
#include "media/image.h"
#include "tests/integration/serve_process.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright {
namespace {

using Json = nlohmann::json;
using media::TemporaryFolder;
using std::chrono::steady_clock;
namespace fs = std::filesystem;

// What a process holds; zeros when it is gone.
struct Held {
  double rss_mb = 0;
  long files = 0, threads = 0;
};

Held held_by(pid_t pid) {
  Held held;
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    double value = 0;
    words >> name >> value;
    if (name == "VmRSS:") held.rss_mb = value / 1000;
    if (name == "Threads:") held.threads = static_cast<long>(value);
  }
  std::error_code error;
  for (fs::directory_iterator at("/proc/" + std::to_string(pid) + "/fd", error), end;
       !error && at != end; at.increment(error)) {
    ++held.files;
  }
  return held;
}

// Bytes that the folder takes on its disk.
double disk_mb(const fs::path& folder) {
  double bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    struct stat about {};
    if (::lstat(at->path().c_str(), &about) == 0)
      bytes += 512.0 * static_cast<double>(about.st_blocks);
  }
  return bytes / 1e6;
}

struct Sample {
  int jobs = 0;
  Held service, worker;
  double disk_mb = 0;
};

class Soak {
 public:
  explicit Soak(const fs::path& folder)
      : data_(folder / "data"), serve_(data_, {"--losses-max", "1000"}) {
    media::RgbImage image(64, 48);
    std::fill_n(image.at(0, 0), 64 * 48 * 3, std::uint8_t{90});
    media::write_png(folder / "p.png", image.view());
    const auto bytes = media::read_file(folder / "p.png", 1 << 20);
    body_start_ =
        "--B\r\nContent-Disposition: form-data; name=\"input_reference\"; "
        "filename=\"p.png\"\r\nContent-Type: image/png\r\n\r\n" +
        bytes + "\r\n";
  }
  ServeProcess& serve() { return serve_; }

  // One job of one kind through its life.
  void one_life() {
    const int kind = static_cast<int>(jobs_ % 5);
    const auto request = tiny_request(kind == 3 ? 40000 : 16, jobs_ % 7);
    const std::string key = "Idempotency-Key: soak-" + std::to_string(jobs_) + "\r\n";
    std::string id;
    // A file may have to wait for others to be looked at; on a stopped machine answers get lost.
    for (int i = 0; i < 600 && id.empty(); ++i) {
      if (i > 0) std::this_thread::sleep_for(std::chrono::seconds(1));
      id = kind == 1 ? submit_form(request, key) : serve_.submit(request, key);
    }
    ASSERT_FALSE(id.empty()) << "job " << jobs_ << " was not accepted";
    if (kind == 3) {  // stopped on the way, or before it began
      if (jobs_ % 2 == 0)
        serve_.wait_for(
            id, [](const Json& v) { return v.at("evaluations_done") > 2; }, kPatience);
      EXPECT_EQ(ask("POST", "/v1/videos/" + id + "/cancel", 409).status, 200);
    }
    const auto asked = steady_clock::now();
    const auto video = serve_.wait_final(id, kPatience);
    if (kind == 3 && steady_clock::now() - asked > kCancelLimit) ++slow_cancels_;
    ASSERT_EQ(video.at("status"), kind == 3 ? "failed" : "completed") << video.dump(2);
    if (kind != 3) {
      EXPECT_EQ(ask("GET", "/v1/videos/" + id + "/content").status, 200);
      EXPECT_EQ(ask("GET", "/v1/videos/" + id + "/timeline").status, 200);
    }
    const auto events = ask("GET", "/v1/videos/" + id + "/events?follow=false");
    EXPECT_NE(events.body.find("event: end"), std::string::npos);
    if (kind == 2) {
      const auto remix = ask("POST", "/v1/videos/" + id + "/remix", 200, R"({"prompt": "a hill"})");
      ASSERT_EQ(remix.status, 200) << remix.body;
      const auto other = remix.json().at("id").get<std::string>();
      serve_.wait_final(other, kPatience);
      EXPECT_EQ(ask("DELETE", "/v1/videos/" + other, 404).status, 200);
    }
    EXPECT_EQ(ask("DELETE", "/v1/videos/" + id, 404).status, 200);
    ++jobs_;
  }

  // Again until there is an answer: a machine that stops this test for a while (a snapshot, a
  // measurement beside it) makes its own questions time out. What a lost answer had done already
  // answers as in `done`.
  coordinator::http::RawResponse ask(const std::string& method, const std::string& target,
                                     int done = 200, const std::string& body = "") {
    coordinator::http::RawResponse answer;
    for (int i = 0; i < 100; ++i) {
      answer = serve_.ask(method, target, body);
      if (answer.status != 0) break;
    }
    if (answer.status == done) answer.status = 200;
    return answer;
  }

  // With no job left and the gang idle.
  Sample sample() {
    Json cluster;
    const auto end = steady_clock::now() + kPatience;
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      cluster = ask("GET", "/v1/cluster").json();
    } while (steady_clock::now() < end &&
             (cluster.at("gangs").size() != 1 || cluster.at("gangs")[0].at("state") != "idle"));
    // A remix whose answer was lost was made twice.
    for (const auto& left : ask("GET", "/v1/videos").json().at("data")) {
      ask("DELETE", "/v1/videos/" + left.at("id").get<std::string>());
    }
    std::this_thread::sleep_for(std::chrono::seconds(2));  // connections and file work end
    const auto worker = cluster.at("gangs").at(0).at("pid").get<pid_t>();
    Sample now{static_cast<int>(jobs_), held_by(serve_.pid()), held_by(worker), disk_mb(data_)};
    std::printf(
        "jobs %5d  service %6.1f MB %3ld files %3ld threads  worker %6.1f MB %3ld files "
        "%3ld threads  disk %5.1f MB\n",
        now.jobs, now.service.rss_mb, now.service.files, now.service.threads, now.worker.rss_mb,
        now.worker.files, now.worker.threads, now.disk_mb);
    std::fflush(stdout);
    return now;
  }
  fs::path data() const { return data_; }
  int slow_cancels() const { return slow_cancels_; }

 private:
  static constexpr std::chrono::seconds kPatience = std::chrono::minutes(20);
  // Less than what the service waits before it ends a gang that does not stop.
  static constexpr std::chrono::seconds kCancelLimit{40};

  std::string submit_form(const Json& request, const std::string& headers) try {
    std::string body = body_start_;
    for (const auto& [name, value] : request.items()) {
      body += "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" +
              (value.is_string() ? value.get<std::string>() : value.dump()) + "\r\n";
    }
    const auto answer =
        coordinator::http::ask(serve_.port(), "POST", "/v1/videos", body + "--B--\r\n",
                               "Content-Type: multipart/form-data; boundary=B\r\n" + headers);
    // 0: no answer in time; 503: other files are being looked at.
    EXPECT_TRUE(answer.status == 200 || answer.status == 503 || answer.status == 0) << answer.body;
    return answer.status == 200 ? answer.json().at("id").get<std::string>() : "";
  } catch (const std::exception&) {
    return {};  // no answer in time
  }

  fs::path data_;
  ServeProcess serve_;
  std::string body_start_;
  std::size_t jobs_ = 0;
  int slow_cancels_ = 0;
};

TEST(ServiceSoak, AnHourOfSmallJobsLeavesNothingBehind) {
  const char* wanted = std::getenv("SEAMWRIGHT_SOAK_SECONDS");
  const std::chrono::seconds length(wanted != nullptr ? std::atoi(wanted) : 3600);
  TemporaryFolder folder;
  Soak soak(folder.path());
  ASSERT_TRUE(soak.serve().started());
  const auto begin = steady_clock::now();
  std::vector<Sample> samples;
  // Each kind of job a few times, and a tenth of the time, before what is held counts.
  for (int i = 0; i < 20 || steady_clock::now() - begin < length / 10; ++i) {
    ASSERT_NO_FATAL_FAILURE(soak.one_life());
  }
  samples.push_back(soak.sample());
  auto next = begin + length / 5;
  while (steady_clock::now() - begin < length) {
    ASSERT_NO_FATAL_FAILURE(soak.one_life());
    if (steady_clock::now() < next) continue;
    next += length / 10;
    samples.push_back(soak.sample());
  }
  samples.push_back(soak.sample());
  const Sample &first = samples.front(), &last = samples.back();
  EXPECT_GE(last.jobs, first.jobs + 20) << "too few to say anything";
  EXPECT_LE(soak.slow_cancels(), 2) << "more than a machine that was stopped for a while explains";
  EXPECT_LE(last.service.rss_mb, 1.1 * first.service.rss_mb + 4);
  EXPECT_LE(last.worker.rss_mb, 1.1 * first.worker.rss_mb + 4);
  EXPECT_LE(last.service.files, first.service.files);
  EXPECT_LE(last.worker.files, first.worker.files);
  EXPECT_LE(last.service.threads, first.service.threads);
  EXPECT_LE(last.worker.threads, first.worker.threads);
  // Databases and their logs keep room that they once needed.
  EXPECT_LE(last.disk_mb, first.disk_mb + 4);
  for (const char* part : {"videos", "segments", "previews", "timelines", "inputs"}) {
    EXPECT_TRUE(fs::is_empty(soak.data() / part)) << part;
  }
  EXPECT_EQ(soak.serve().stop(), 0);
}

}  // namespace
}  // namespace seamwright

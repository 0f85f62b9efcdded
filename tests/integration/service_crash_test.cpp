// Nothing that was acknowledged is lost: the coordinator dies before and after every durable write,
// and coordinator and gangs die at random under load.
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <random>
#include <set>
#include <thread>

#include "coordinator/store/job_store.h"
#include "media/files.h"
#include "media/image.h"
#include "tests/integration/serve_process.h"
#include "tests/unit/media/temporary_folder.h"

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

// What clients were told, held against what they are told later.
class Ledger {
 public:
  void acknowledged(const std::string& id, const nlohmann::json& request) {
    if (!id.empty()) requests_[id] = request;
  }
  const std::map<std::string, nlohmann::json>& requests() const { return requests_; }

  // Every acknowledged job exists, and no state goes back.
  void look(ServeProcess& serve) {
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
      EXPECT_GE(rank_of(status), rank_of(seen_[id])) << id << " went from " << seen_[id] << " to "
                                                     << status;
      if (rank_of(seen_[id]) == 2) {
        EXPECT_EQ(status, seen_[id]);
      }
      seen_[id] = status;
    }
  }

  // All of them end completed, with the bits of an undisturbed run and one file each.
  void expect_all_done(ServeProcess& serve, const std::filesystem::path& data) {
    for (const auto& [id, request] : requests_) {
      const auto video = serve.wait_final(id);
      EXPECT_EQ(video.at("status"), "completed") << video.dump(2);
      EXPECT_EQ(video.at("latents_sha256"), undisturbed_hash(request)) << id;
    }
    std::multiset<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(data / "videos")) {
      const auto name = entry.path().filename().string();
      files.insert(name.substr(0, name.find('-')));
    }
    for (const auto& [id, request] : requests_) EXPECT_EQ(files.count(id), 1U) << id;
    // A job may be stored although its client never heard: then it is made, once.
    for (const auto& id : files) {
      EXPECT_EQ(files.count(id), 1U) << id;
      EXPECT_FALSE(serve.get(id).is_null()) << "a file belongs to nobody: " << id;
    }
  }

 private:
  std::map<std::string, nlohmann::json> requests_;
  std::map<std::string, std::string> seen_;
};

#ifndef SEAMWRIGHT_LONG_TESTS
class Failpoint : public testing::TestWithParam<const char*> {};

TEST_P(Failpoint, KilledThereNothingIsLost) {
  TemporaryFolder folder;
  Ledger ledger;
  bool died = false;
  {
    ServeProcess serve(folder / "data", {}, GetParam());
    if (serve.started()) {
      ledger.acknowledged(serve.submit(tiny_request(60, 1)), tiny_request(60, 1));
      ledger.acknowledged(serve.submit(tiny_request(23, 2)), tiny_request(23, 2));
    }
    const auto end = steady_clock::now() + std::chrono::minutes(5);
    while (serve.running() && steady_clock::now() < end) {
      if (serve.started()) ledger.look(serve);
      std::this_thread::sleep_for(milliseconds(30));
    }
    died = !serve.running();
  }
  EXPECT_TRUE(died) << "the failpoint was never reached";
  ServeProcess again(folder / "data");
  ASSERT_TRUE(again.started());
  ledger.look(again);
  ledger.acknowledged(again.submit(tiny_request(23, 1)), tiny_request(23, 1));
  ledger.expect_all_done(again, folder / "data");
}

INSTANTIATE_TEST_SUITE_P(
    AroundEveryWrite, Failpoint,
    testing::Values("before.migrate", "after.migrate", "before.submit", "after.submit",
                    "before.attempt", "after.attempt", "before.record", "after.record",
                    "before.segment", "between.segment", "after.segment", "before.segment_commit",
                    "after.segment_commit", "before.done", "after.done", "before.video",
                    "after.video", "before.publish", "after.publish"),
    [](const auto& info) {
      std::string name = info.param;
      for (char& c : name) {
        if (c == '.') c = '_';
      }
      return name;
    });

std::string picture_bytes(TemporaryFolder& folder) {
  media::RgbImage image(64, 48);
  for (int i = 0; i < 64 * 48 * 3; ++i) image.at(0, 0)[i] = static_cast<std::uint8_t>(i % 251);
  media::write_png(folder / "p.png", image.view());
  return media::read_file(folder / "p.png", 1 << 20);
}

// A job that starts from a picture; its id, or "" when it was not acknowledged.
std::string submit_with_picture(ServeProcess& serve, const std::string& picture) {
  std::string body;
  const auto request = tiny_request();
  for (const auto& [name, value] : request.items()) {
    body += "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" +
            (value.is_string() ? value.get<std::string>() : value.dump()) + "\r\n";
  }
  body += "--B\r\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"p.png\"\r\n"
          "Content-Type: image/png\r\n\r\n" + picture + "\r\n--B--\r\n";
  try {
    const auto answer = coordinator::http::ask(serve.port(), "POST", "/v1/videos", body,
                                               "Content-Type: multipart/form-data; boundary=B\r\n");
    return answer.status == 200 ? answer.json().at("id").get<std::string>() : "";
  } catch (const std::exception&) {
    return {};
  }
}

// Killed around each write of a file that a job starts from: the job is there with its whole file, or
// neither is.
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
      const auto answer = serve.ask("POST", "/v1/videos/" + source + "/remix", R"({"prompt": "x"})");
      EXPECT_EQ(answer.status, 0) << "it died before it answered";
    } else {
      EXPECT_EQ(submit_with_picture(serve, picture), "") << "it died before it answered";
    }
    const auto end = steady_clock::now() + std::chrono::minutes(5);
    while (serve.running() && steady_clock::now() < end) {
      std::this_thread::sleep_for(milliseconds(20));
    }
    EXPECT_FALSE(serve.running()) << "the failpoint was never reached";
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
                         [](const auto& info) {
                           std::string name = info.param;
                           name[name.find('.')] = '_';
                           return name;
                         });

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

#endif  // SEAMWRIGHT_LONG_TESTS

// Kills the coordinator or everything of a gang, at random moments, while jobs come in.
void random_kills(int kills, std::uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  TemporaryFolder folder;
  const auto data = folder / "data";
  Ledger ledger;
  auto serve = std::make_unique<ServeProcess>(data, kTwoGangs);
  ASSERT_TRUE(serve->started());
  for (int kill = 0; kill < kills; ++kill) {
    if (ledger.requests().size() < static_cast<std::size_t>(4 + kills / 4)) {
      const auto request = tiny_request(kill % 3 == 0 ? 60 : 23, kill % 4);
      ledger.acknowledged(serve->submit(request), request);
    }
    std::this_thread::sleep_for(milliseconds(random() % 900));
    ledger.look(*serve);
    if (random() % 3 == 0) {
      serve->kill_now();
      serve = std::make_unique<ServeProcess>(data, kTwoGangs);
      ASSERT_TRUE(serve->started());
    } else {
      const auto processes = serve->gang_processes();
      if (!processes.empty()) ::kill(processes[random() % processes.size()], SIGKILL);
    }
  }
  ledger.look(*serve);
  ledger.expect_all_done(*serve, data);
  EXPECT_EQ(serve->stop(), 0);
  EXPECT_TRUE(serve->gang_processes().empty()) << "orphans";
}

#ifdef SEAMWRIGHT_LONG_TESTS
TEST(ServiceCrash, TwoHundredRandomKillsLoseNothing) { random_kills(200, 11); }
#else
TEST(ServiceCrash, ThirtyRandomKillsLoseNothing) { random_kills(30, 7); }
#endif

}  // namespace
}  // namespace seamwright

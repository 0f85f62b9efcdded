// The whole service as its users meet it: the real program,
// its real gangs, and things that go wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <regex>
#include <set>
#include <thread>

#include "coordinator/store/job_store.h"
#include "media/files.h"
#include "media/video_reader.h"
#include "tests/integration/serve_process.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright {
namespace {

using media::TemporaryFolder;
using std::chrono::milliseconds;

// Two dozen windows of a few steps: long enough to be interrupted.
nlohmann::json longer_request(std::uint64_t seed = 3) {
  auto request = tiny_request(120, seed);
  request["steps"] = 6;
  return request;
}

void expect_undisturbed(ServeProcess& serve, const nlohmann::json& video,
                        const nlohmann::json& request) {
  ASSERT_EQ(video.at("status"), "completed") << video.dump(2);
  EXPECT_EQ(video.at("latents_sha256"), undisturbed_hash(request));
  TemporaryFolder folder;
  const auto content =
      serve.ask("GET", "/v1/videos/" + video.at("id").get<std::string>() + "/content");
  ASSERT_EQ(content.status, 200);
  media::write_file_atomically(folder / "v.mp4", content.body);
  EXPECT_EQ(media::probe_video(folder / "v.mp4").frames, request.at("frames"));
}

std::size_t files_in(const std::filesystem::path& folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    count += entry.is_regular_file() ? 1 : 0;
  }
  return count;
}

TEST(Service, MakesTheVideoThatGenerateMakes) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data");
  ASSERT_TRUE(serve.started());
  const auto request = tiny_request();
  const auto id = serve.submit(request);
  ASSERT_FALSE(id.empty());
  expect_undisturbed(serve, serve.wait_final(id), request);
  // The next job finds the model loaded.
  const auto second = serve.submit(tiny_request(23, 2));
  expect_undisturbed(serve, serve.wait_final(second), tiny_request(23, 2));
  EXPECT_EQ(files_in(folder / "data/videos"), 2U);
  EXPECT_EQ(serve.stop(), 0);
  EXPECT_TRUE(serve.gang_processes().empty());
}

// Names of metrics in a text, without what a histogram's series add.
std::set<std::string> metric_names(const std::string& text) {
  static const std::regex kName("seamwright_[a-z_]+");
  std::set<std::string> names;
  for (std::sregex_iterator at(text.begin(), text.end(), kName), end; at != end; ++at) {
    names.insert(std::regex_replace(at->str(), std::regex("_bucket$"), ""));
  }
  return names;
}

TEST(Service, HasTheMetricsThatTheGrafanaBoardAsksFor) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--no-local-gang"});
  ASSERT_TRUE(serve.started());
  serve.ask("GET", "/v1/videos");
  const auto there = metric_names(serve.ask("GET", "/metrics").body);
  const auto board = nlohmann::json::parse(
      media::read_file(SEAMWRIGHT_DEPLOY "/prometheus/grafana.json", 1 << 20));
  std::string asked;
  for (const auto& panel : board.at("panels")) {
    for (const auto& target : panel.at("targets"))
      asked += target.at("expr").get<std::string>() + "\n";
  }
  EXPECT_GE(metric_names(asked).size(), 10U);
  for (const auto& name : metric_names(asked)) EXPECT_TRUE(there.contains(name)) << name;
}

TEST(Service, RefusesWhatTheModelCannotDo) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--no-local-gang"});
  ASSERT_TRUE(serve.started());
  const std::vector<std::pair<nlohmann::json, std::string>> refusals = {
      {{{"window", 1000}}, "window"},         {{{"size", "65x48"}}, "size"},
      {{{"model", "nonesuch"}}, "model"},     {{{"model", "/etc"}}, "model"},
      {{{"sampler", "nonesuch"}}, "sampler"},
  };
  for (const auto& [change, field] : refusals) {
    auto request = tiny_request();
    request.update(change);
    const auto answer = serve.ask("POST", "/v1/videos", request.dump());
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_NE(answer.body.find(field), std::string::npos) << answer.body;
  }
}

// A submit fills the size in, so only another program's store has such jobs.
TEST(Service, AStoredJobThatNoSubmitWouldLeaveFailsAloneAndTheGangGoesOn) {
  TemporaryFolder folder;
  std::filesystem::create_directories(folder / "data");
  const std::vector<std::pair<std::string, std::function<void(JobRequest&)>>> bad = {
      {"video_" + std::string(32, '1'), [](JobRequest& r) { r.width = r.height = 0; }},
      {"video_" + std::string(32, '2'), [](JobRequest& r) { r.height = 0; }},
      {"video_" + std::string(32, '3'), [](JobRequest& r) { r.frames = 0; }},
  };
  {
    coordinator::JobStore store(folder / "data/jobs.db");
    store.commit([&] {
      for (std::size_t i = 0; i < bad.size(); ++i) {
        coordinator::JobRecord record;
        record.view.id = bad[i].first;
        record.arrival = static_cast<std::int64_t>(i) + 1;
        record.view.created_at = 1'700'000'000;
        auto& request = record.view.submission.request;
        request.model = "unetmotion3";
        request.prompt = "a red circle";
        request.frames = 23;
        request.window = 8;
        request.overlap = 4;
        request.width = 64;
        request.height = 48;
        bad[i].second(request);
        store.put_job(record);
      }
    });
  }
  ServeProcess serve(folder / "data");
  ASSERT_TRUE(serve.started());
  for (const auto& [id, unused] : bad) {
    const auto video = serve.wait_final(id);
    EXPECT_EQ(video.at("status"), "failed");
    EXPECT_EQ(video.at("error").at("code"), "invalid_request") << video.dump(2);
    EXPECT_EQ(video.at("attempt"), 1) << "its gang was lost";
  }
  const auto next = serve.submit(tiny_request());
  expect_undisturbed(serve, serve.wait_final(next), tiny_request());
  EXPECT_EQ(serve.ask("GET", "/v1/cluster").json().at("gangs").at(0).at("jobs_done"), 4);
}

TEST(Service, AKilledGangsJobGoesOnToTheSameBits) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data");
  ASSERT_TRUE(serve.started());
  const auto request = longer_request();
  const auto id = serve.submit(request);
  serve.wait_for(id,
                 [](const auto& v) { return v.at("evaluations_done").template get<int>() > 20; });
  const auto processes = serve.gang_processes();
  ASSERT_FALSE(processes.empty());
  for (const pid_t pid : processes) ::kill(pid, SIGKILL);
  const auto video = serve.wait_final(id);
  EXPECT_GE(video.at("attempt"), 2);
  expect_undisturbed(serve, video, request);
  EXPECT_EQ(files_in(folder / "data/videos"), 1U);
}

TEST(Service, AStoppedGangIsReplaced) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data");
  ASSERT_TRUE(serve.started());
  const auto request = longer_request();
  const auto id = serve.submit(request);
  serve.wait_for(id,
                 [](const auto& v) { return v.at("evaluations_done").template get<int>() > 10; });
  for (const pid_t pid : serve.gang_processes()) ::kill(pid, SIGSTOP);
  expect_undisturbed(serve, serve.wait_final(id), request);
}

TEST(Service, ARestartedServiceGoesOn) {
  TemporaryFolder folder;
  const auto request = longer_request();
  std::string id;
  {
    ServeProcess serve(folder / "data");
    ASSERT_TRUE(serve.started());
    id = serve.submit(request);
    serve.wait_for(id,
                   [](const auto& v) { return v.at("evaluations_done").template get<int>() > 20; });
    serve.kill_now();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!serve.gang_processes().empty() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(milliseconds(50));
    }
    EXPECT_TRUE(serve.gang_processes().empty()) << "a gang outlived its coordinator";
  }
  ServeProcess again(folder / "data");
  ASSERT_TRUE(again.started());
  expect_undisturbed(again, again.wait_final(id), request);
}

TEST(Service, TwoGangsServeTwoJobsAndOneTakesOver) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--gangs", "2"});
  ASSERT_TRUE(serve.started());
  const auto a = serve.submit(longer_request(1)), b = serve.submit(longer_request(2));
  const auto running = [](const auto& v) {
    return v.at("evaluations_done").template get<int>() > 5;
  };
  const auto first = serve.wait_for(a, running), second = serve.wait_for(b, running);
  EXPECT_NE(first.at("gang"), second.at("gang"));
  const auto cluster = serve.ask("GET", "/v1/cluster").json();
  for (const auto& gang : cluster.at("gangs")) {
    if (gang.at("id") == first.at("gang")) ::kill(gang.at("pid").get<pid_t>(), SIGKILL);
  }
  expect_undisturbed(serve, serve.wait_final(a), longer_request(1));
  expect_undisturbed(serve, serve.wait_final(b), longer_request(2));
}

TEST(Service, CancelFreesTheGangForTheNextJob) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data");
  ASSERT_TRUE(serve.started());
  auto endless = longer_request();
  endless["frames"] = 4000;
  const auto id = serve.submit(endless);
  serve.wait_for(id,
                 [](const auto& v) { return v.at("evaluations_done").template get<int>() > 5; });
  EXPECT_EQ(serve.ask("POST", "/v1/videos/" + id + "/cancel").status, 200);
  const auto ended = serve.wait_final(id, std::chrono::seconds(20));
  EXPECT_EQ(ended.at("error").at("code"), "cancelled");
  const auto next = serve.submit(tiny_request());
  expect_undisturbed(serve, serve.wait_final(next), tiny_request());
}

TEST(Service, CancelLeavesTheRanksOfAGangWhereTheyAre) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--window-parallel-size", "2", "--launcher", "mpirun"});
  ASSERT_TRUE(serve.started());
  const auto first = serve.submit(tiny_request());
  expect_undisturbed(serve, serve.wait_final(first, std::chrono::minutes(3)), tiny_request());
  const auto processes = serve.gang_processes();
  EXPECT_GE(processes.size(), 2U);
  for (int round = 0; round < 3; ++round) {
    auto endless = longer_request();
    endless["frames"] = 4000;
    const auto id = serve.submit(endless);
    serve.wait_for(
        id, [](const auto& v) { return v.at("evaluations_done").template get<int>() > 5; },
        std::chrono::minutes(3));
    EXPECT_EQ(serve.ask("POST", "/v1/videos/" + id + "/cancel").status, 200);
    const auto ended = serve.wait_final(id, std::chrono::minutes(3));
    EXPECT_EQ(ended.at("error").at("code"), "cancelled");
    const auto next = serve.submit(tiny_request());
    expect_undisturbed(serve, serve.wait_final(next, std::chrono::minutes(3)), tiny_request());
    const auto timeline = serve.ask("GET", "/v1/videos/" + next + "/timeline").json();
    EXPECT_EQ(timeline.at("ranks").size(), 2U) << timeline.dump();
    for (const pid_t pid : processes) EXPECT_EQ(::kill(pid, 0), 0) << "a rank was started again";
  }
}

TEST(Service, AGangOfRanksServesWithTheSameBits) {
  TemporaryFolder folder;
  for (const char* launcher : {"none", "mpirun"}) {
    ServeProcess serve(folder / launcher, {"--window-parallel-size", "2", "--launcher", launcher});
    ASSERT_TRUE(serve.started());
    for (const std::uint64_t seed : {1, 2}) {
      const auto id = serve.submit(tiny_request(23, seed));
      expect_undisturbed(serve, serve.wait_final(id), tiny_request(23, seed));
    }
    serve.kill_now();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!serve.gang_processes().empty() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(milliseconds(50));
    }
    EXPECT_TRUE(serve.gang_processes().empty()) << launcher;
  }
}

}  // namespace
}  // namespace seamwright

// What goes wrong around a real gang: its link is cut or falls silent, one rank of many stops, a
// disk is full on either side. Each has a name, costs nobody a video, and the service goes on.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "media/child_process.h"
#include "media/files.h"
#include "tests/integration/link_proxy.h"
#include "tests/integration/serve_process.h"
#include "tests/unit/media/small_disk.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright {
namespace {

namespace fs = std::filesystem;
using media::SmallDisk;
using media::TemporaryFolder;
using std::chrono::milliseconds;
using Json = nlohmann::json;

Json longer_request(std::uint64_t seed = 3) {
  auto request = tiny_request(120, seed);
  request["steps"] = 6;
  return request;
}

bool well_begun(const Json& video) { return video.at("evaluations_done").get<int>() > 20; }

void expect_undisturbed(const Json& video, const Json& request) {
  ASSERT_EQ(video.at("status"), "completed") << video.dump(2);
  EXPECT_EQ(video.at("latents_sha256"), undisturbed_hash(request));
}

// The port for gangs, which the service says when it starts.
std::uint16_t control_port(const fs::path& data) {
  const auto log = media::read_file(data.string() + ".log", 1 << 20);
  const std::string words = "gangs may connect to 127.0.0.1:";
  const auto at = log.find(words);
  EXPECT_NE(at, std::string::npos) << log;
  return static_cast<std::uint16_t>(std::strtoul(log.c_str() + at + words.size(), nullptr, 10));
}

// A gang that a person starts by hand.
media::ChildSpec gang(const fs::path& data, const std::string& name, std::uint16_t port,
                      const std::string& more = "LANG=C") {
  media::ChildSpec spec;
  spec.argv = {"env",
               std::string("SEAMWRIGHT_MODELS=") + SEAMWRIGHT_FIXTURES "/checkpoints",
               more,
               SEAMWRIGHT_PROGRAM,
               "worker",
               "--coordinator",
               "127.0.0.1:" + std::to_string(port),
               "--token-file",
               (data / "gang-token").string(),
               "--name",
               name,
               "--threads",
               "1",
               "--lease-ms",
               "4000"};
  return spec;
}

TEST(ServiceFaults, ALinkThatIsCutIsMadeAgainAndTheAttemptGoesOn) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--no-local-gang"});
  ASSERT_TRUE(serve.started());
  LinkProxy proxy(control_port(folder / "data"));
  const media::ChildProcess far(gang(folder / "data", "far", proxy.port()));
  const auto id = serve.submit(longer_request());
  int done = 0;
  for (int cuts = 1; cuts <= 3; ++cuts) {
    // Each cut meets a link that has carried something: more is done, on one connection more.
    const auto seen = serve.wait_for(id, [&](const Json& v) {
      return proxy.connections() >= cuts && v.at("evaluations_done").get<int>() > done + 10;
    });
    done = seen.at("evaluations_done").get<int>();
    proxy.cut();
  }
  const auto video = serve.wait_final(id);
  EXPECT_EQ(video.at("attempt"), 1) << "a cut link is no loss";
  EXPECT_GE(proxy.connections(), 4);
  expect_undisturbed(video, longer_request());
}

TEST(ServiceFaults, ASilentLinksJobGoesToAnotherGangAndTheFirstEndsItself) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--no-local-gang"});
  ASSERT_TRUE(serve.started());
  const auto port = control_port(folder / "data");
  LinkProxy proxy(port);
  media::ChildProcess far(gang(folder / "data", "far", proxy.port()));
  auto endless = longer_request();
  endless["frames"] = 4000;
  const auto id = serve.submit(endless);
  serve.wait_for(id, well_begun);
  proxy.silence();
  const auto ended = far.wait_exit(std::chrono::minutes(5));
  EXPECT_NE(ended.code, 0) << "it has no coordinator any more";
  const media::ChildProcess near(gang(folder / "data", "near", port));
  const auto video = serve.wait_for(id, [](const Json& v) { return v.at("gang") == "near"; });
  EXPECT_EQ(video.at("attempt"), 2);
  EXPECT_EQ(serve.ask("POST", "/v1/videos/" + id + "/cancel").status, 200);
  EXPECT_EQ(serve.wait_final(id).at("error").at("code"), "cancelled");
  const auto next = serve.submit(tiny_request());
  expect_undisturbed(serve.wait_final(next), tiny_request());
}

TEST(ServiceFaults, OneStoppedRankOfAGangIsReplacedWithAllOfIt) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--window-parallel-size", "2", "--launcher", "mpirun"});
  ASSERT_TRUE(serve.started());
  const auto id = serve.submit(longer_request());
  serve.wait_for(id, well_begun);
  // Not the rank that speaks to the coordinator, nor the launcher.
  const auto talks =
      serve.ask("GET", "/v1/cluster").json().at("gangs").at(0).at("pid").get<pid_t>();
  pid_t other = 0;
  for (const pid_t pid : serve.gang_processes()) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
    const std::string line((std::istreambuf_iterator<char>(file)), {});
    if (pid != talks && line.starts_with(SEAMWRIGHT_PROGRAM)) other = pid;
  }
  ASSERT_NE(other, 0);
  ASSERT_EQ(::kill(other, SIGSTOP), 0);
  const auto video = serve.wait_final(id);
  EXPECT_GE(video.at("attempt"), 2);
  expect_undisturbed(video, longer_request());
  EXPECT_NE(::kill(other, 0), 0) << "the stopped rank is still there";
}

TEST(ServiceFaults, AFullDiskOfTheServiceHasANameAndPasses) {
  TemporaryFolder folder;
  SmallDisk disk(folder / "disk", "size=24m");
  if (!disk.mounted()) GTEST_SKIP() << "no small disk can be mounted here: " << disk.why();
  ServeProcess serve(folder / "disk/data");
  ASSERT_TRUE(serve.started());
  const auto id = serve.submit(longer_request());
  serve.wait_for(id, well_begun);
  disk.fill();
  auto refused = serve.ask("POST", "/v1/videos", tiny_request().dump());
  for (int i = 0; i < 50 && refused.status == 200; ++i) {  // the log kept room for some
    refused = serve.ask("POST", "/v1/videos", tiny_request().dump());
  }
  EXPECT_EQ(refused.status, 507) << refused.body;
  EXPECT_EQ(refused.json().at("error").at("code"), "out_of_disk");
  EXPECT_EQ(serve.ask("GET", "/readyz").status, 503);
  EXPECT_EQ(serve.ask("GET", "/livez").status, 200);
  // The job fails by that name, or waits until there is room; never anything else.
  std::this_thread::sleep_for(std::chrono::seconds(2));
  disk.make_room();
  const auto video = serve.wait_final(id);
  if (video.at("status") == "failed") {
    EXPECT_EQ(video.at("error").at("code"), "out_of_disk") << video.dump(2);
  } else {
    expect_undisturbed(video, longer_request());
  }
  for (const auto& one : serve.ask("GET", "/v1/videos").json().at("data")) {
    if (one.at("id") == id) continue;
    expect_undisturbed(serve.wait_final(one.at("id")), tiny_request());
  }
  const auto next = serve.submit(tiny_request(23, 5));
  expect_undisturbed(serve.wait_final(next), tiny_request(23, 5));
  EXPECT_EQ(serve.ask("GET", "/readyz").status, 200);
  EXPECT_EQ(serve.stop(), 0);
}

TEST(ServiceFaults, AFullDiskOfAGangHasANameAndItsNextJobIsFine) {
  TemporaryFolder folder;
  SmallDisk disk(folder / "scratch", "size=4m");
  if (!disk.mounted()) GTEST_SKIP() << "no small disk can be mounted here: " << disk.why();
  ServeProcess serve(folder / "data", {"--no-local-gang"});
  ASSERT_TRUE(serve.started());
  const media::ChildProcess worker(gang(folder / "data", "small", control_port(folder / "data"),
                                        "TMPDIR=" + (folder / "scratch").string()));
  const auto first = serve.submit(tiny_request());
  expect_undisturbed(serve.wait_final(first), tiny_request());
  const auto pid = serve.ask("GET", "/v1/cluster").json().at("gangs").at(0).at("pid");
  disk.fill();
  const auto id = serve.submit(longer_request());
  const auto failed = serve.wait_final(id);
  ASSERT_EQ(failed.at("status"), "failed") << failed.dump(2);
  EXPECT_EQ(failed.at("error").at("code"), "out_of_disk") << failed.dump(2);
  disk.make_room();
  const auto next = serve.submit(longer_request());
  expect_undisturbed(serve.wait_final(next), longer_request());
  EXPECT_EQ(serve.ask("GET", "/v1/cluster").json().at("gangs").at(0).at("pid"), pid);
}

}  // namespace
}  // namespace seamwright

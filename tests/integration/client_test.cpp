// The client verbs of the program against a service in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "media/child_process.h"
#include "media/files.h"
#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class Client : public testing::Test {
 protected:
  media::ChildResult program(std::vector<std::string> arguments, std::string server = "") {
    arguments.insert(arguments.begin(), SEAMWRIGHT_PROGRAM);
    arguments.push_back("--server");
    arguments.push_back(server.empty() ? served_.server.url() : server);
    media::ChildSpec spec;
    spec.argv = std::move(arguments);
    return media::run_child(spec, std::chrono::milliseconds(60'000));
  }
  std::string submit() {
    const auto result = program({"submit", "--prompt", "a red circle", "--json"});
    EXPECT_EQ(result.exit.code, 0) << result.errors;
    return Json::parse(result.output).at("id");
  }
  Served served_;
};

TEST_F(Client, SubmitSendsWhatWasAskedFor) {
  const auto result = program({"submit", "--prompt", "a hill", "--frames", "20", "--size", "64x48",
                               "--fuse", "flat", "--seed", "9", "--priority", "3", "--json"});
  ASSERT_EQ(result.exit.code, 0) << result.errors;
  const Json video = Json::parse(result.output);
  EXPECT_EQ(video.at("size"), "64x48");
  EXPECT_EQ(video.at("priority"), 3);
  EXPECT_EQ(video.at("request").at("frames"), 20);
  EXPECT_EQ(video.at("request").at("fuse"), "flat");
  EXPECT_EQ(video.at("request").at("seed"), 9);
}

TEST_F(Client, SubmitAndWaitFetchesTheFile) {
  const std::string bytes(3'000'000, 'v');
  served_.service.complete_all_with(served_.file("v.mp4", bytes), std::chrono::milliseconds(700));
  const auto out = served_.folder / "got.mp4";
  const auto result = program({"submit", "-p", "a hill", "--wait", "--out", out.string()});
  ASSERT_EQ(result.exit.code, 0) << result.errors;
  EXPECT_EQ(media::read_file(out, 10'000'000), bytes);
  EXPECT_EQ(result.output, out.string() + "\n");
  EXPECT_THAT(result.errors, HasSubstr("no gang is free"));
  EXPECT_THAT(result.errors, HasSubstr("latents sha256 aaaa"));
}

TEST_F(Client, WaitTellsThatAJobWasCancelled) {
  std::jthread cancel([&] {
    for (int i = 0; i < 200; ++i) {
      const auto page = served_.service.list("", 1, false, "");
      if (!page.jobs.empty()) {
        served_.service.cancel(page.jobs[0].id, "");
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
  const auto result = program({"submit", "-p", "a hill", "--wait"});
  EXPECT_EQ(result.exit.code, 130);
  EXPECT_THAT(result.errors, HasSubstr("cancelled on request"));
}

TEST_F(Client, ListsShowsAndCancels) {
  const std::string id = submit();
  EXPECT_THAT(program({"ps"}).output, HasSubstr(id + "  queued #1"));
  const auto lines = program({"ps", "--json"}).output;
  EXPECT_EQ(Json::parse(lines).at("id"), id);
  EXPECT_THAT(program({"show", id}).output, HasSubstr("a red circle"));
  EXPECT_THAT(program({"logs", id}).output, HasSubstr("state status=queued"));
  EXPECT_EQ(program({"cancel", id}).output, "failed: cancelled\n");
  EXPECT_EQ(program({"cancel", id}).exit.code, 2);
  EXPECT_THAT(program({"logs", "-f", id}).output, HasSubstr("state status=failed"));
  EXPECT_THAT(program({"cluster"}).output, HasSubstr("no gang is connected"));
}

TEST_F(Client, GetLeavesNothingBehindWhenItFails) {
  const std::string id = submit();
  const auto out = served_.folder / "none.mp4";
  const auto early = program({"get", id, "-o", out.string()});
  EXPECT_EQ(early.exit.code, 2);
  EXPECT_THAT(early.errors, HasSubstr("not finished"));
  EXPECT_FALSE(std::filesystem::exists(out));
  EXPECT_FALSE(std::filesystem::exists(out.string() + ".part"));
  served_.service.complete(id, served_.file("v.mp4", "0123456789"));
  EXPECT_EQ(program({"get", id, "-o", out.string()}).exit.code, 0);
  EXPECT_EQ(media::read_file(out, 100), "0123456789");
}

TEST_F(Client, TellsRefusalsApartByExitCode) {
  const auto unknown = program({"show", "video_00000000000000000000000000000000"});
  EXPECT_EQ(unknown.exit.code, 3);
  EXPECT_EQ(program({"show", "../x"}).exit.code, 2);
  const auto wrong = program({"submit", "-p", "x", "--model", "../secret"});
  EXPECT_EQ(wrong.exit.code, 2);
  EXPECT_THAT(wrong.errors, HasSubstr("model must be"));
  const auto nobody = program({"ps"}, "http://127.0.0.1:1");
  EXPECT_EQ(nobody.exit.code, 8);
  EXPECT_THAT(nobody.errors, HasSubstr("cannot be reached"));
  EXPECT_EQ(program({"ps"}, "ftp://x").exit.code, 2);
}

}  // namespace
}  // namespace seamwright::coordinator::http

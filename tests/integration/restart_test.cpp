// What users see of losses: who was lost and why, when it gives up, Ctrl-C, other layouts, and
// memory that depends neither on the video's length nor on the encoder's speed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "media/child_process.h"
#include "media/video_reader.h"
#include "tests/integration/fault_run.h"
#include "tests/unit/media/temporary_folder.h"

extern char** environ;

namespace seamwright {
namespace {

namespace fs = std::filesystem;
using media::TemporaryFolder;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using Arguments = std::vector<std::string>;

media::ChildResult generate(const Arguments& more, const std::string& frames = "20") {
  media::ChildSpec spec;
  spec.argv = {SEAMWRIGHT_PROGRAM,
               "generate",
               "--model",
               SEAMWRIGHT_FIXTURES "/checkpoints/unetmotion3",
               "--prompt",
               "a red circle",
               "--frames",
               frames,
               "--size",
               "64x48",
               "--window",
               "8",
               "--overlap",
               "2",
               "--steps",
               "2",
               "--guidance",
               "1",
               "--threads",
               "1",
               "--quiet",
               "--segment-frames",
               "8"};
  spec.argv.insert(spec.argv.end(), more.begin(), more.end());
  return media::run_child(spec, milliseconds(200'000));
}

nlohmann::json report_in(const fs::path& path) {
  return nlohmann::json::parse(std::ifstream(path), nullptr, false);
}

TEST(Restarts, SayWhichRankWasLostWhereAndWhy) {
  if (!has_mpirun()) GTEST_SKIP() << "mpirun is not installed";
  TemporaryFolder folder;
  const auto made = generate({"--no-video", "--resume", (folder / "kept").string(), "--restarts",
                              "1", "--window-parallel-size", "2", "--launcher", "mpirun",
                              "--failpoint", "kill:rank=1:task=5"});
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  EXPECT_THAT(made.errors, HasSubstr("lost: rank 1 on "));
  EXPECT_THAT(made.errors, HasSubstr("signal 9 (Killed); starting again (1 of 1)"));
}

// Each attempt measures for itself, so that their plans may differ; what they make may not.
TEST(Restarts, MeasureAgainAndGiveASlowRankFewerWindows) {
  if (!has_mpirun()) GTEST_SKIP() << "mpirun is not installed";
  TemporaryFolder folder;
  const auto report = (folder / "r.json").string();
  ASSERT_EQ(generate({"--no-video", "--report", report}, "40").exit.code, 0);
  const auto alone = report_in(report).at("latents_sha256");
  const auto made =
      generate({"--no-video", "--report", report, "--resume", (folder / "kept").string(),
                "--checkpoint-steps", "1", "--restarts", "1", "--window-parallel-size", "2",
                "--launcher", "mpirun", "--costs", "measured", "--failpoint",
                "slow:percent=1500:rank=1;kill:rank=0:task=12"},
               "40");
  ASSERT_EQ(made.exit.code, 0) << made.errors;
  EXPECT_THAT(made.errors, HasSubstr("starting again"));
  const auto last = report_in(report);
  EXPECT_EQ(last.at("recovery").at("attempt"), 2);
  EXPECT_EQ(last.at("latents_sha256"), alone);
  EXPECT_EQ(last.at("costs").at("source"), "measured");
  EXPECT_THAT(last.at("costs").at("reason").get<std::string>(), HasSubstr("shared out by that"));
  EXPECT_LT(last.at("ranks").at(1).at("forwards").get<int>(),
            last.at("ranks").at(0).at("forwards").get<int>());
}

TEST(Restarts, EndATaskThatHangs) {
  for (const std::string gang : {"none", "mpirun"}) {
    if (gang == "mpirun" && !has_mpirun()) continue;
    TemporaryFolder folder;
    const auto made = generate(
        {"--no-video", "--resume", (folder / "kept").string(), "--restarts", "1",
         "--window-parallel-size", gang == "none" ? "1" : "2", "--launcher", gang, "--stall-limit",
         "2", "--failpoint", gang == "none" ? "hang:rank=0:task=12" : "hang:rank=1:task=12"},
        "40");
    EXPECT_EQ(made.exit.code, 0) << made.errors;
    EXPECT_THAT(made.errors, HasSubstr("was lost (it has been at "));
    EXPECT_THAT(made.errors, HasSubstr("starting again"));
  }
}

TEST(Restarts, GiveAJobUpThatGetsNowhere) {
  TemporaryFolder folder;
  const auto made = generate(
      {"--no-video", "--resume", (folder / "kept").string(), "--restarts", "9", "--failpoint",
       "kill:task=2;kill:task=2:attempt=2;kill:task=2:attempt=3;kill:task=2:attempt=4"});
  EXPECT_EQ(made.exit.code, 8);
  EXPECT_THAT(made.errors, HasSubstr("3 attempts in a row got nowhere"));
}

TEST(Restarts, AreNotForBadRequestsAndNeedAFolder) {
  TemporaryFolder folder;
  const auto nowhere = generate({"--no-video", "--restarts", "2"});
  EXPECT_EQ(nowhere.exit.code, 2);
  EXPECT_THAT(nowhere.errors, HasSubstr("--resume"));
  const auto bad = generate({"--out", (folder / "v.gif").string(), "--resume",
                             (folder / "kept").string(), "--restarts", "2"});
  EXPECT_EQ(bad.exit.code, 2) << bad.errors;
  EXPECT_THAT(bad.errors, ::testing::Not(HasSubstr("starting again")));
}

TEST(Resume, MovesBetweenLayoutsOfProcesses) {
  if (!has_mpirun()) GTEST_SKIP() << "mpirun is not installed";
  TemporaryFolder folder;
  const auto report = (folder / "r.json").string();
  ASSERT_EQ(generate({"--no-video", "--report", report}, "40").exit.code, 0);
  const auto alone = report_in(report).at("latents_sha256");
  const auto attempt = [&](const Arguments& layout, const std::string& failpoint) {
    Arguments all = {"--out",    (folder / "v.mp4").string(), "--report",           report,
                     "--resume", (folder / "kept").string(),  "--checkpoint-steps", "1"};
    if (!failpoint.empty()) all.insert(all.end(), {"--failpoint", failpoint});
    all.insert(all.end(), layout.begin(), layout.end());
    return generate(all, "40");
  };
  EXPECT_NE(attempt({"--window-parallel-size", "2"}, "kill:rank=1:task=16").exit.code, 0);
  EXPECT_NE(attempt({"--pipeline-parallel-size", "2"}, "kill:rank=0:task=8:attempt=2").exit.code,
            0);
  const auto last = attempt({}, "");
  ASSERT_EQ(last.exit.code, 0) << last.errors;
  EXPECT_EQ(report_in(report).at("latents_sha256"), alone);
  EXPECT_EQ(report_in(report).at("recovery").at("attempt"), 3);
  EXPECT_EQ(media::probe_video(folder / "v.mp4").frames, 40);
}

// Processes of the program whose command line has `word`, each with its parent.
std::map<pid_t, pid_t> processes_that_say(const std::string& word) {
  std::map<pid_t, pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    if (!text.str().starts_with(SEAMWRIGHT_PROGRAM) || text.str().find(word) == std::string::npos) {
      continue;
    }
    std::ifstream status(entry.path() / "status");
    pid_t parent = 0;
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("PPid:")) parent = static_cast<pid_t>(std::stol(line.substr(5)));
    }
    found.emplace(static_cast<pid_t>(std::stol(entry.path().filename())), parent);
  }
  return found;
}

TEST(Resume, GoesOnAfterCtrlC) {
  TemporaryFolder folder;
  const Arguments arguments = {"--out", (folder / "v.mp4").string(), "--resume",
                               (folder / "kept").string()};
  std::thread interrupter([&] {
    // As soon as a segment is there.
    for (int i = 0; i < 3000; ++i) {
      if (fs::exists(folder / "kept" / "segments" / "00000000-00000016.json")) break;
      std::this_thread::sleep_for(milliseconds(10));
    }
    const auto found = processes_that_say((folder / "kept").string());
    for (const auto& [pid, parent] : found) {
      // An encoder about to start still looks like the program that starts it.
      if (!found.contains(parent)) ::kill(pid, SIGINT);
    }
  });
  const auto stopped = generate(arguments, "400");
  interrupter.join();
  EXPECT_EQ(stopped.exit.code, 130) << stopped.errors;
  EXPECT_FALSE(fs::exists(folder / "v.mp4"));
  const auto done = generate(arguments, "400");
  EXPECT_EQ(done.exit.code, 0) << done.errors;
  EXPECT_EQ(media::probe_video(folder / "v.mp4").frames, 400);
}

std::string program_path(const std::string& name) {
  std::stringstream folders(std::getenv("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    const auto path = fs::path(folder) / name;
    if (::access(path.c_str(), X_OK) == 0) return path.string();
  }
  return name;
}

// Peak memory of a run, in bytes. It moves by a twentieth from run to run (threads' arenas), so
// what is compared with is the largest of three.
double memory_of(const TemporaryFolder& folder, const std::string& frames, const Arguments& more) {
  Arguments all = {"--out",    (folder / "v.mp4").string(),
                   "--report", (folder / "r.json").string(),
                   "--order",  "streaming"};
  all.insert(all.end(), more.begin(), more.end());
  const auto made = generate(all, frames);
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  return report_in(folder / "r.json").value("peak_memory_bytes", 0.0);
}

double largest_memory_of(const TemporaryFolder& folder, const std::string& frames,
                         const Arguments& more) {
  double largest = 0;
  for (int run = 0; run < 3; ++run) {
    largest = std::max(largest, memory_of(folder, frames, more));
    fs::remove_all(folder / "kept");
  }
  return largest;
}

TEST(Streaming, MemoryDoesNotDependOnLength) {
  TemporaryFolder folder;
  for (const Arguments& more : {Arguments{}, Arguments{"--resume", (folder / "kept").string(),
                                                       "--checkpoint-steps", "1"}}) {
    const auto brief = largest_memory_of(folder, "200", more);
    // The pixels of the frames that are more would take three times the tenth; what threads' arenas
    // add is not there every time.
    double lengthy = 0;
    for (int run = 0; run < 3 && (run == 0 || lengthy >= 1.1 * brief); ++run) {
      lengthy = memory_of(folder, "2000", more);
      fs::remove_all(folder / "kept");
    }
    EXPECT_LT(lengthy, 1.1 * brief) << (more.empty() ? "plain" : "with a folder to resume from");
  }
}

TEST(Streaming, FramesWaitForASlowEncoder) {
  TemporaryFolder folder;
  const Arguments layout = {"--window-parallel-size", "3", "--launcher", "none", "--fps", "50"};
  const auto quick = largest_memory_of(folder, "150", layout);
  const auto bin = folder / "bin";
  fs::create_directory(bin);
  // The real one, told to read its frames at the video's own rate.
  std::ofstream(bin / "ffmpeg") << "#!/bin/sh\n"
                                   "n=$#\n"
                                   "while [ $n -gt 0 ]; do\n"
                                   "  a=$1; shift; n=$((n-1))\n"
                                   "  [ \"$a\" = -framerate ] && set -- \"$@\" -re\n"
                                   "  set -- \"$@\" \"$a\"\n"
                                   "done\n"
                                << "exec " << program_path("ffmpeg") << " \"$@\"\n";
  ::chmod((bin / "ffmpeg").c_str(), 0755);
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", (bin.string() + ":" + path).c_str(), 1);
  const auto slow = memory_of(folder, "150", layout);
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_LT(slow, 1.1 * quick);
  EXPECT_EQ(media::probe_video(folder / "v.mp4").frames, 150);
  const auto report = report_in(folder / "r.json");
  EXPECT_GT(report.at("seconds").at("encode").get<double>(), 1.0) << "the encoder was not slow";
  for (const auto& rank : report.at("ranks")) {
    EXPECT_LE(rank.at("peak_live_bytes").get<double>(),
              rank.at("planned_live_bytes").get<double>());
  }
}

}  // namespace
}  // namespace seamwright

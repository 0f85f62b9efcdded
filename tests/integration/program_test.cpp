// The program as its users meet it: exit codes, messages, files, Ctrl-C.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "media/child_process.h"
#include "media/files.h"
#include "media/metadata.h"
#include "media/video_reader.h"
#include "tests/unit/media/temporary_folder.h"

extern char** environ;

namespace seamwright {
namespace {

using media::TemporaryFolder;
using std::chrono::milliseconds;

const std::string kModel = std::string(SEAMWRIGHT_FIXTURES) + "/checkpoints/unetmotion3";

media::ChildResult program(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), SEAMWRIGHT_PROGRAM);
  media::ChildSpec spec;
  spec.argv = std::move(arguments);
  return media::run_child(spec, milliseconds(120'000));
}

std::vector<std::string> small_request(const std::filesystem::path& out, int frames = 12) {
  return {"generate",
          "--model",
          kModel,
          "--prompt",
          "a red circle",
          "--frames",
          std::to_string(frames),
          "--size",
          "64x48",
          "--window",
          "8",
          "--overlap",
          "4",
          "--steps",
          "2",
          "--threads",
          "1",
          "--out",
          out.string()};
}

TEST(Program, MakesAVideoWithSidecarAndSheet) {
  TemporaryFolder folder;
  const auto out = folder / "v.mp4";
  const auto made = program(small_request(out));
  ASSERT_EQ(made.exit.code, 0) << made.errors;
  EXPECT_EQ(made.output, out.string() + "\n") << "only the file's name belongs on standard output";
  EXPECT_EQ(media::probe_video(out).frames, 12);
  const auto sidecar = media::read_sidecar(out.string() + ".json");
  EXPECT_EQ(sidecar["request"]["prompt"], "a red circle");
  EXPECT_EQ(sidecar["result"]["latents_sha256"].get<std::string>().size(), 64U);
  EXPECT_EQ(sidecar["digital_source_type"], media::kAiSourceType);
  const auto sheet = program({"sheet", out.string(), "--out", (folder / "s.png").string()});
  ASSERT_EQ(sheet.exit.code, 0) << sheet.errors;
  EXPECT_GT(media::read_png(folder / "s.png").width, 600);
}

TEST(Program, SidecarMakesTheSameVideoAgain) {
  TemporaryFolder folder;
  ASSERT_EQ(program(small_request(folder / "a.mp4")).exit.code, 0);
  const auto again = program({"generate", "--from-sidecar", (folder / "a.mp4.json").string(),
                              "--out", (folder / "b.gif").string()});
  ASSERT_EQ(again.exit.code, 0) << again.errors;
  const auto hash = [](const std::filesystem::path& sidecar) {
    return media::read_sidecar(sidecar)["result"]["latents_sha256"];
  };
  EXPECT_EQ(hash(folder / "a.mp4.json"), hash(folder / "b.gif.json"));
}

struct Refusal {
  std::vector<std::string> change;  // added to a good request
  int exit_code;
  std::string says;
};

std::string latents_hash(std::vector<std::string> request, const std::filesystem::path& report) {
  request.insert(request.end(), {"--no-video", "--quiet", "--report", report.string()});
  const auto made = program(request);
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  if (made.exit.code != 0) return "failed";
  return nlohmann::json::parse(std::ifstream(report)).at("latents_sha256");
}

TEST(Program, GangsOfProcessesGiveTheBitsOfOneProcess) {
  if (program({"doctor", "--json"}).output.find("mpirun") == std::string::npos) {
    GTEST_SKIP() << "mpirun is not installed";
  }
  TemporaryFolder folder;
  const auto request = [&](const std::vector<std::string>& more) {
    auto all = small_request(folder / "v.mp4", 23);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto alone = latents_hash(request({}), folder / "alone.json");
  const std::vector<std::vector<std::string>> layouts = {
      {"--window-parallel-size", "2", "--launcher", "mpirun"},
      {"--pipeline-parallel-size", "2", "--launcher", "mpirun", "--order", "throughput"},
      {"--window-parallel-size", "2", "--pipeline-parallel-size", "3", "--folded", "--launcher",
       "mpirun"},
      {"--window-parallel-size", "3", "--launcher", "none"}};
  for (const auto& layout : layouts) {
    EXPECT_EQ(latents_hash(request(layout), folder / "gang.json"), alone) << layout[0] << layout[1];
  }
}

TEST(Program, WorkersAreNotStartedByHand) {
  const auto made = program({"worker", "--job", "{}"});
  EXPECT_EQ(made.exit.code, 2);
  EXPECT_NE(made.errors.find("mpirun"), std::string::npos) << made.errors;
}

TEST(Program, InspectsAModelAndSaysWhatIsWrong) {
  const auto good = program({"models", "inspect", kModel});
  EXPECT_EQ(good.exit.code, 0) << good.errors;
  EXPECT_NE(good.output.find("UNetMotionModel"), std::string::npos) << good.output;
  TemporaryFolder folder;
  std::filesystem::copy(kModel, folder / "m", std::filesystem::copy_options::recursive);
  for (const auto& file : std::filesystem::directory_iterator(folder / "m" / "unet")) {
    if (file.path().extension() == ".safetensors") std::filesystem::resize_file(file.path(), 1000);
  }
  const auto bad = program({"models", "inspect", (folder / "m").string()});
  EXPECT_EQ(bad.exit.code, 5) << bad.output;
}

TEST(Program, RefusesBadRequestsWithReasonAndExitCode) {
  TemporaryFolder folder;
  media::write_file_atomically(folder / "file", "x");
  const std::vector<Refusal> refusals = {
      {{"--frames", "0"}, 2, "frames"},
      {{"--frames", "-5"}, 2, "frames"},
      {{"--frames", "99999999999999999999"}, 2, "99999999999999999999 does not fit"},
      {{"--frames", "many"}, 2, "--frames: must be a whole number, not 'many'"},
      {{"--seed", "-1"}, 2, "--seed"},
      {{"--seed", "18446744073709551616"}, 2, "64 bits"},
      {{"--guidance", "1e999"}, 2, "--guidance"},
      {{"--guidance", "1,5"}, 2, "must be a number"},
      {{"--size", "65x48"}, 2, "multiples"},
      {{"--size", "big"}, 2, "size"},
      {{"--window", "1000"}, 2, "window"},
      {{"--sampler", "nonesuch"}, 2, "sampler"},
      {{"--no-such-flag"}, 2, "no-such-flag"},
      {{"--steps", "-1"}, 2, "steps"},
      {{"--fps", "0"}, 2, "fps"},
      {{"--overlap", "8"}, 2, "overlap"},
      {{"--fuse", "nonesuch"}, 2, "fuse"},
      {{"--model", (folder / "absent").string()}, 3, "absent"},
      {{"--from-sidecar", (folder / "absent.json").string()}, 3, "absent.json"},
      {{"--from-sidecar", (folder / "file").string()}, 5, "sidecar"},
      {{"--out", (folder / "file/x.mp4").string()}, 6, "file"},
      {{"--out", (folder / "x.avi").string()}, 2, ".mp4"},
      {{"--out", "/proc/x.mp4"}, 6, "Choose another --out"},  // why differs for root
      {{"--prompt", "a \xff circle"}, 2, "prompt is no UTF-8"},
      {{"--latents-in", (folder / "file").string()}, 5, "file"},
  };
  for (const Refusal& refusal : refusals) {
    auto arguments = small_request(folder / "v.mp4");
    // The last of a repeated flag is not accepted by the parser: replace instead of adding.
    for (std::size_t i = 1; i + 1 < arguments.size(); ++i) {
      if (arguments[i] == refusal.change.front()) {
        arguments.erase(arguments.begin() + static_cast<std::ptrdiff_t>(i),
                        arguments.begin() + static_cast<std::ptrdiff_t>(i) + 2);
        break;
      }
    }
    arguments.insert(arguments.end(), refusal.change.begin(), refusal.change.end());
    const auto result = program(arguments);
    const std::string what = refusal.change.front() + " " + refusal.change.back();
    EXPECT_EQ(result.exit.signal, 0) << what;
    EXPECT_EQ(result.exit.code, refusal.exit_code) << what << ": " << result.errors;
    EXPECT_NE((result.errors + result.output).find(refusal.says), std::string::npos)
        << what << ": " << result.errors;
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "v.mp4"));
}

TEST(Program, TakesAFlagOnce) {
  const auto result = program({"generate", "--frames", "4", "--prompt", "a", "--prompt", "b"});
  EXPECT_EQ(result.exit.code, 2);
  EXPECT_NE(result.errors.find("--prompt was given 2 times; give it once"), std::string::npos)
      << result.errors;
}

TEST(Program, NamesAVerbThatDoesNotExist) {
  const auto result = program({"frobnicate", "--frames", "4"});
  EXPECT_EQ(result.exit.code, 2);
  EXPECT_NE(result.errors.find("no verb 'frobnicate'"), std::string::npos) << result.errors;
  EXPECT_NE(result.errors.find("generate"), std::string::npos) << result.errors;
}

TEST(Program, RefusesToMakeAVideoOfWhatIsNoNumber) {
  TemporaryFolder folder;
  std::filesystem::copy(kModel, folder / "model", std::filesystem::copy_options::recursive);
  std::filesystem::path weights;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "model/unet")) {
    if (entry.path().extension() == ".safetensors") weights = entry.path();
  }
  ASSERT_FALSE(weights.empty());
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(weights));
  std::fstream file(weights, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(size - 64);
  file << std::string(64, '\xff');  // NaN in every type of weight
  file.close();
  auto arguments = small_request(folder / "v.mp4");
  for (auto& argument : arguments) {
    if (argument == kModel) argument = (folder / "model").string();
  }
  const auto result = program(arguments);
  EXPECT_EQ(result.exit.code, 5) << result.errors;
  EXPECT_NE(result.errors.find("finite"), std::string::npos) << result.errors;
}

// What Ctrl-C does: SIGINT to the program, not to its encoder.
TEST(Program, StopsOnInterruptWithAPlayableFile) {
  TemporaryFolder folder;
  auto arguments = small_request(folder / "v.mp4", 4000);
  arguments.insert(arguments.begin(), SEAMWRIGHT_PROGRAM);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  ASSERT_EQ(::posix_spawn(&pid, SEAMWRIGHT_PROGRAM, nullptr, nullptr, argv.data(), environ), 0);
  const auto partial = folder / "v.partial.mp4";
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::error_code error;
  while (std::chrono::steady_clock::now() < end &&
         (!std::filesystem::exists(partial, error) ||
          std::filesystem::file_size(partial, error) == 0)) {
    std::this_thread::sleep_for(milliseconds(50));
  }
  std::this_thread::sleep_for(milliseconds(1500));
  ::kill(pid, SIGINT);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_FALSE(std::filesystem::exists(folder / "v.mp4"));
  media::VideoReader reader(partial);
  media::RgbImage frame;
  while (reader.next(frame)) {
  }
  EXPECT_GT(reader.frames_read(), 0);
  EXPECT_LT(reader.frames_read(), 4000);
}

// A file system of 100 KiB, mounted where only the child sees it.
TEST(Program, AFullDiskEndsWithAClearMessageAndNoFile) {
  TemporaryFolder folder;
  const auto disk = (folder / "disk").string();
  std::filesystem::create_directory(disk);
  const auto within = [&](const std::string& command) {
    media::ChildSpec spec;
    spec.argv = {"unshare", geteuid() == 0 ? "-m" : "-rm", "sh", "-c",
                 "mount -t tmpfs -o size=100k none " + disk + " && " + command};
    return media::run_child(spec, milliseconds(120'000));
  };
  const auto permitted = within("true");
  if (permitted.exit.code != 0) GTEST_SKIP() << "no mount here: " << permitted.errors;
  const auto result =
      within(std::string(SEAMWRIGHT_PROGRAM) + " generate --model " + kModel +
             " --prompt x --frames 160 --size 128x128 --window 8 --overlap 4 --steps 1 --guidance 1"
             " --threads 1 --quiet --out " +
             disk + "/v.mp4; code=$?; ls " + disk + "; exit $code");
  EXPECT_EQ(result.exit.code, 6) << result.errors;
  EXPECT_NE(result.errors.find("the disk is full"), std::string::npos) << result.errors;
  EXPECT_EQ(result.output, "") << "what was begun is left behind";
}

TEST(Program, DoctorSpeaksJson) {
  const auto result = program({"doctor", "--json"});
  ASSERT_EQ(result.exit.code, 0) << result.errors;
  const auto report = nlohmann::json::parse(result.output);
  EXPECT_TRUE(report["usable"].get<bool>());
  EXPECT_TRUE(report["ffmpeg"]["mp4"].get<bool>());
  EXPECT_GE(report["cpu"]["threads"].get<int>(), 1);
}

// The real engine and fabrics with forwards that only count: many layouts, one hash per request.
TEST(Program, EmulatedGangsOfAnySizeHoldOneHash) {
  TemporaryFolder folder;
  const auto report = (folder / "scaling.json").string();
  struct Case {
    std::string ranks, stages, branches, order, launcher;
    bool folded;
  };
  for (const Case& c : {Case{"1,3,24", "1", "1", "throughput", "none", false},
                        Case{"4,8", "4", "2", "throughput", "none", false},
                        Case{"3,6", "3", "2", "streaming", "none", true},
                        Case{"2,4", "2", "1", "streaming", "mpirun", false}}) {
    std::vector<std::string> words = {
        "bench",      "scaling",  "--ranks",           c.ranks, "--stages",   c.stages,
        "--branches", c.branches, "--order",           c.order, "--launcher", c.launcher,
        "--steps",    "5",        "--emulate-compute", "0",     "--json",     report};
    if (c.folded) words.emplace_back("--folded");
    const auto result = program(words);
    ASSERT_EQ(result.exit.code, 0) << result.output << result.errors;
    for (const auto& run : nlohmann::json::parse(media::read_file(report, 1 << 24))) {
      EXPECT_TRUE(run.at("same_as_one_rank").get<bool>()) << run.dump();
      EXPECT_TRUE(run.at("within_memory_bound").get<bool>()) << run.dump();
      EXPECT_TRUE(run.at("emulated").get<bool>());
    }
  }
  const auto one = program({"bench", "scaling", "--ranks", "2", "--steps", "2", "--emulate-compute",
                            "0", "--seed", "8", "--json", report});
  ASSERT_EQ(one.exit.code, 0) << one.errors;
  const auto first = nlohmann::json::parse(media::read_file(report, 1 << 24));
  program({"bench", "scaling", "--ranks", "2", "--steps", "2", "--emulate-compute", "0", "--seed",
           "9", "--json", report});
  const auto second = nlohmann::json::parse(media::read_file(report, 1 << 24));
  EXPECT_NE(first[0].at("hash"), second[0].at("hash"));
}

TEST(Program, HelpNamesEveryVerb) {
  const auto result = program({"--help"});
  EXPECT_EQ(result.exit.code, 0);
  for (const char* verb :
       {"generate", "worker", "models", "doctor", "sheet", "simulate", "bench"}) {
    EXPECT_NE(result.output.find(verb), std::string::npos) << verb;
  }
  EXPECT_EQ(program({}).exit.code, 2);
  EXPECT_EQ(program({"nonesuch"}).exit.code, 2);
}

}  // namespace
}  // namespace seamwright

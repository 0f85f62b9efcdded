#include "tests/integration/fault_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "media/child_process.h"
#include "media/video_reader.h"
#include "tests/unit/media/temporary_folder.h"

extern char** environ;

namespace seamwright {
namespace {

namespace fs = std::filesystem;
using media::TemporaryFolder;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kFrames = 20;
constexpr int kSteps = 3;

struct Draw {
  std::string sampler, coherence;
  int groups = 1, stages = 1;
  int ranks() const { return groups * stages; }
};

Draw draw(const FaultCase& fault, std::mt19937_64& random) {
  const std::array<std::string, 3> samplers = {"ddim", "dpm++_2m", "euler_a"};
  Draw d;
  d.sampler = samplers[random() % 3];
  d.coherence = random() % 2 == 0 ? "local" : "causal";
  if (fault.processes) {
    d.groups = random() % 2 == 0 ? 2 : 1;
    d.stages = 3 - d.groups;
  }
  return d;
}

std::vector<std::string> request(const Draw& d) {
  return {SEAMWRIGHT_PROGRAM, "generate",
          "--model",          SEAMWRIGHT_FIXTURES "/checkpoints/unetmotion3",
          "--prompt",         "a red circle",
          "--frames",         std::to_string(kFrames),
          "--size",           "64x48",
          "--window",         "8",
          "--overlap",        "4",
          "--steps",          std::to_string(kSteps),
          "--threads",        "1",
          "--sampler",        d.sampler,
          "--coherence",      d.coherence,
          "--resample",       "1",
          "--quiet"};
}

nlohmann::json report_in(const fs::path& path) {
  return nlohmann::json::parse(std::ifstream(path), nullptr, false);
}

// The hash, and how long a run takes, of a request without faults; made once per request.
struct Undisturbed {
  std::string hash;
  milliseconds took{};
};
const Undisturbed& undisturbed(const Draw& d) {
  static std::map<std::string, Undisturbed> known;
  auto [at, added] = known.try_emplace(d.sampler + d.coherence);
  if (added) {
    TemporaryFolder folder;
    auto arguments = request(d);
    arguments.insert(arguments.end(), {"--no-video", "--report", (folder / "r.json").string()});
    media::ChildSpec spec;
    spec.argv = arguments;
    const auto begin = Clock::now();
    const auto made = media::run_child(spec, milliseconds(120'000));
    EXPECT_EQ(made.exit.code, 0) << made.errors;
    at->second = {report_in(folder / "r.json").value("latents_sha256", "none"),
                  std::chrono::duration_cast<milliseconds>(Clock::now() - begin)};
  }
  return at->second;
}

std::string failpoint_of(const FaultCase& fault, const Draw& d, std::mt19937_64& random) {
  const auto rank = random() % static_cast<unsigned>(d.ranks());
  // About as many tasks as a rank has; beyond the last, nothing happens, which is a case as well.
  const auto task = random() % (fault.processes ? 24 : 48);
  switch (fault.place) {
    case FaultPlace::kTask:
      return fmt::format("kill:rank={}:task={}", rank, task);
    case FaultPlace::kStop:
      return fmt::format("stop:rank={}:task={}", rank, random() % 20);
    case FaultPlace::kRecord:
      return random() % 2 == 0 ? fmt::format("kill:record={}", 1 + random() % 20)
                               : fmt::format("kill:records={}", 1 + random() % 6);
    case FaultPlace::kSegment:
      return fmt::format("kill:segment={}", 1 + random() % 2);
    case FaultPlace::kRestart:
      return fmt::format("kill:task={};kill:load={}:attempt=2:rank={}", 10 + random() % 40,
                         1 + random() % 4, rank);
    case FaultPlace::kClock:
    case FaultPlace::kKillLauncher:
      break;
  }
  return "";
}

// Processes whose command line names the folder, but for the supervisor itself.
std::vector<std::pair<pid_t, std::string>> processes_of(const fs::path& folder, pid_t supervisor) {
  std::vector<std::pair<pid_t, std::string>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const auto name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    if (text.str().find(folder.string()) == std::string::npos) continue;
    const auto pid = static_cast<pid_t>(std::stol(name));
    if (pid != supervisor) found.emplace_back(pid, text.str());
  }
  return found;
}

class Supervisor {
 public:
  explicit Supervisor(std::vector<std::string> arguments, const fs::path& errors)
      : arguments_(std::move(arguments)) {
    std::vector<char*> argv;
    for (auto& a : arguments_) argv.push_back(a.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&files);
  }
  pid_t pid() const { return pid_; }
  // The exit code, or -1 when it had to be killed after two minutes.
  int wait() const {
    const auto give_up = Clock::now() + std::chrono::seconds(120);
    int status = 0;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (Clock::now() > give_up) {
        ::kill(pid_, SIGKILL);
        waitpid(pid_, &status, 0);
        return -1;
      }
      std::this_thread::sleep_for(milliseconds(10));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  std::vector<std::string> arguments_;
  pid_t pid_ = -1;
};

void kill_from_outside(const FaultCase& fault, const Supervisor& supervisor, const fs::path& folder,
                       milliseconds took, std::mt19937_64& random) {
  // Some are lost while they start, most once they work.
  const bool wait = random() % 4 != 0;
  for (int i = 0; wait && i < 3000 && !fs::exists(folder / "trace"); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  const auto span = wait ? took / 4 : took;
  std::this_thread::sleep_for(milliseconds(random() % static_cast<unsigned>(span.count() + 1)));
  const auto alive = processes_of(folder, supervisor.pid());
  std::vector<pid_t> targets;
  for (const auto& [pid, command] : alive) {
    const bool launcher = command.starts_with("mpirun");
    const bool encoder = command.starts_with("ffmpeg");
    if (!encoder && (fault.place == FaultPlace::kClock || launcher || !fault.processes)) {
      targets.push_back(pid);
    }
  }
  if (!targets.empty()) ::kill(targets[random() % targets.size()], SIGKILL);
}

struct Trace {
  std::map<std::int64_t, std::vector<std::array<std::int64_t, 6>>> attempts;  // ms, window, ...
};

Trace read_trace(const fs::path& path) {
  Trace trace;
  std::ifstream file(path);
  std::int64_t attempt = 0;
  std::array<std::int64_t, 6> line{};
  while (file >> attempt >> line[0] >> line[1] >> line[2] >> line[3] >> line[4] >> line[5]) {
    trace.attempts[attempt].push_back(line);
  }
  return trace;
}

// A loss costs every window at most one step.
void check_redone(const Trace& trace) {
  std::size_t most = 0;
  std::map<std::pair<std::int64_t, std::int64_t>, bool> before;  // (window, step)
  for (const auto& [attempt, lines] : trace.attempts) {
    std::map<std::int64_t, std::set<std::int64_t>> again;
    for (const auto& line : lines) {
      if (before.contains({line[1], line[2]})) again[line[1]].insert(line[2]);
    }
    for (const auto& [window, steps] : again) {
      most = std::max(most, steps.size());
      EXPECT_LE(steps.size(), 1U) << "window " << window << " in attempt " << attempt;
    }
    for (const auto& line : lines) before[{line[1], line[2]}] = true;
  }
  ::testing::Test::RecordProperty("most_steps_redone", static_cast<int>(most));
}

void check_new_work(const Trace& trace, bool stopped) {
  const std::vector<std::array<std::int64_t, 6>>* last = nullptr;
  for (const auto& [attempt, lines] : trace.attempts) {
    if (last != nullptr) {
      // Three heartbeats are 1.5 s.
      EXPECT_LE(lines.front()[0] - last->back()[0], stopped ? 16'500 : 15'000)
          << "before attempt " << attempt;
    }
    last = &lines;
  }
}

}  // namespace

std::string describe(const FaultCase& fault) {
  static const std::array<const char*, 7> names = {"task",  "record", "segment", "restart",
                                                   "clock", "stop",   "launcher"};
  return fmt::format("{}_{}_{}", fault.processes ? "gang" : "one",
                     names[static_cast<std::size_t>(fault.place)], fault.seed);
}

bool has_mpirun() {
  media::ChildSpec spec;
  spec.argv = {SEAMWRIGHT_PROGRAM, "doctor", "--json"};
  return media::run_child(spec, milliseconds(60'000)).output.find("mpirun") != std::string::npos;
}

void run_fault(const FaultCase& fault) {
  std::mt19937_64 random(fault.seed);
  const auto d = draw(fault, random);
  const auto& expected = undisturbed(d);
  TemporaryFolder folder;
  const auto video = folder / "v.mp4";
  const auto trace_path = folder / "trace";
  auto failpoint = failpoint_of(fault, d, random);
  failpoint += (failpoint.empty() ? "trace=" : ";trace=") + trace_path.string();
  auto arguments = request(d);
  arguments.insert(arguments.end(), {"--out",
                                     video.string(),
                                     "--report",
                                     (folder / "r.json").string(),
                                     "--resume",
                                     (folder / "kept").string(),
                                     "--restarts",
                                     "3",
                                     "--checkpoint-steps",
                                     "1",
                                     "--segment-frames",
                                     "8",
                                     "--failpoint",
                                     failpoint,
                                     "--window-parallel-size",
                                     std::to_string(d.groups),
                                     "--pipeline-parallel-size",
                                     std::to_string(d.stages),
                                     "--launcher",
                                     fault.processes ? "mpirun" : "none"});
  SCOPED_TRACE(
      fmt::format("{}x{} {} {} {}", d.groups, d.stages, d.sampler, d.coherence, failpoint));
  const Supervisor supervisor(arguments, folder / "errors");
  if (fault.place == FaultPlace::kClock || fault.place == FaultPlace::kKillLauncher) {
    kill_from_outside(fault, supervisor, folder.path(), expected.took, random);
  }
  const int code = supervisor.wait();
  std::stringstream errors;
  errors << std::ifstream(folder / "errors").rdbuf();
  ASSERT_EQ(code, 0) << errors.str();
  for (const auto& [pid, command] : processes_of(folder.path(), -1)) {
    ADD_FAILURE() << "left behind: " << pid << " " << command;
  }
  const auto report = report_in(folder / "r.json");
  EXPECT_EQ(report.value("latents_sha256", ""), expected.hash) << errors.str();
  media::VideoReader reader(video);
  for (media::RgbImage frame; reader.next(frame);) {
  }
  EXPECT_EQ(reader.frames_read(), kFrames);
  const auto trace = read_trace(trace_path);
  check_redone(trace);
  check_new_work(trace, fault.place == FaultPlace::kStop);
  int losses = 0;
  for (std::string line; std::getline(errors, line);) losses += line.find("lost: ") != line.npos;
  ::testing::Test::RecordProperty("losses", losses);
  ::testing::Test::RecordProperty("attempts", report.at("recovery").at("attempt").get<int>());
  if (report.at("recovery").at("attempt") > 1) {
    EXPECT_GE(losses, 1) << errors.str();
  }
}

}  // namespace seamwright

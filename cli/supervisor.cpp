#include "cli/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <regex>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "cli/exit_codes.h"

namespace seamwright::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kCannotStart = 127;  // as shells say it

volatile std::sig_atomic_t asked_to_stop = 0;
extern "C" void on_supervisor_signal(int signal) { asked_to_stop = signal; }

struct Ended {
  int code = 0;
  int signal = 0;
  bool stopped = false;  // ended by us because it stood still
  std::string reason;    // as its standard error says
};

bool worth_another_try(const Ended& ended) {
  if (ended.signal != 0) return true;
  for (const auto code :
       {ErrorCode::kInvalidArgument, ErrorCode::kNotFound, ErrorCode::kUnsupported,
        ErrorCode::kCorrupt, ErrorCode::kIo, ErrorCode::kResource, ErrorCode::kCancelled}) {
    if (ended.code == exit_code(code)) return false;
  }
  return ended.code != 0;
}

std::string describe(const Ended& ended) {
  if (!ended.reason.empty()) return ended.reason;
  if (ended.stopped) return "the process was stopped and did not go on";
  if (ended.signal != 0) {
    return fmt::format("the process was killed by signal {} ({})", ended.signal,
                       ::strsignal(ended.signal));
  }
  return fmt::format("the process ended with exit code {}", ended.code);
}

// Names of the durable work: it changes whenever an attempt has got anywhere.
std::string work_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const char* part : {"records", "segments"}) {
    for (const auto& entry : fs::directory_iterator(folder / part, ignored)) {
      const auto extension = entry.path().extension();
      if (extension == ".rec" || extension == ".json") {
        names.push_back(entry.path().filename().string());
      }
    }
  }
  std::sort(names.begin(), names.end());
  return fmt::format("{}", fmt::join(names, " "));
}

class Child {
 public:
  Child(const std::vector<std::string>& command, const std::string& marker, bool read_errors);
  Ended wait(const SuperviseOptions& options);

 private:
  bool reap(Ended& ended, const SuperviseOptions& options);
  void drain(bool to_the_end);

  pid_t pid_ = -1;
  int errors_ = -1;
  std::string unfinished_;
  LossReader losses_;
  std::optional<Clock::time_point> stopped_since_;
  bool told_to_stop_ = false, killed_ = false;
};

Child::Child(const std::vector<std::string>& command, const std::string& marker, bool read_errors) {
  std::array<int, 2> pipe{-1, -1};
  if (read_errors && ::pipe2(pipe.data(), O_CLOEXEC) != 0) {
    fail(ErrorCode::kResource, "no pipe: {}", std::strerror(errno));
  }
  std::vector<char*> argv;
  for (const auto& part : command) argv.push_back(const_cast<char*>(part.c_str()));
  argv.push_back(nullptr);
  ::setenv(kGangVariable, marker.c_str(), 1);
  ::setenv(kSupervisedVariable, "1", 1);
  pid_ = ::fork();
  if (pid_ < 0) fail(ErrorCode::kResource, "cannot start a process: {}", std::strerror(errno));
  if (pid_ == 0) {
    // Ctrl-C reaches the supervisor, which passes it on; if the supervisor dies, so does the child.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (read_errors) ::dup2(pipe[1], STDERR_FILENO);
    // In the background, a read of the terminal would stop it.
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
    ::execvp(argv[0], argv.data());
    ::_exit(kCannotStart);
  }
  if (read_errors) {
    ::close(pipe[1]);
    errors_ = pipe[0];
    ::fcntl(errors_, F_SETFL, O_NONBLOCK);
  }
}

// Passes on what the child writes, and reads along.
void Child::drain(bool to_the_end) {
  std::array<char, 4096> buffer{};
  while (errors_ >= 0) {
    const ssize_t n = ::read(errors_, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (n == 0 || to_the_end) {
        ::close(errors_);
        errors_ = -1;
      }
      return;
    }
    const std::string_view text(buffer.data(), static_cast<std::size_t>(n));
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
    unfinished_ += text;
    for (auto end = unfinished_.find('\n'); end != std::string::npos;
         end = unfinished_.find('\n')) {
      losses_.line(unfinished_.substr(0, end));
      unfinished_.erase(0, end + 1);
    }
  }
}

bool Child::reap(Ended& ended, const SuperviseOptions& options) {
  int status = 0;
  const pid_t got = ::waitpid(pid_, &status, WNOHANG | WUNTRACED | WCONTINUED);
  if (got == pid_ && WIFSTOPPED(status)) {
    stopped_since_ = Clock::now();
  } else if (got == pid_ && WIFCONTINUED(status)) {
    stopped_since_.reset();
  } else if (got == pid_) {
    ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    ended.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return true;
  }
  if (stopped_since_ && !killed_ && Clock::now() - *stopped_since_ > options.stopped_limit) {
    ended.stopped = killed_ = true;
    ::kill(pid_, SIGKILL);
  }
  return false;
}

Ended Child::wait(const SuperviseOptions& options) {
  Ended ended;
  while (!reap(ended, options)) {
    if (asked_to_stop != 0 && !told_to_stop_) {
      told_to_stop_ = true;
      ::kill(pid_, SIGTERM);
    }
    pollfd errors{errors_, POLLIN, 0};
    ::poll(&errors, errors_ >= 0 ? 1 : 0, 50);
    drain(false);
  }
  drain(true);
  ended.reason = losses_.reason();
  return ended;
}

std::string new_marker() {
  return fmt::format("{}-{}", ::getpid(), Clock::now().time_since_epoch().count());
}

}  // namespace

void LossReader::line(const std::string& text) {
  // Most telling first: a launcher knows how a process ended, a rank only that another fell silent.
  static const std::regex killed(
      R"(process rank (\d+) with PID \d+ on node (\S+) exited on signal (\d+) \(([^)]*)\))");
  static const std::regex killed_by_slurm(R"(srun: error: (\S+): task (\d+): (?!Exited)(.+))");
  static const std::regex lost(R"(rank (\d+) was lost \(([^)]*)\))");
  static const std::regex aborted(R"(the gang was aborted by rank \d+: (rank \d+: .*))");
  std::smatch m;
  const auto take = [&](int weight, std::string reason) {
    if (weight <= weight_) return;
    weight_ = weight;
    reason_ = std::move(reason);
  };
  if (std::regex_search(text, m, killed)) {
    take(3, fmt::format("rank {} on {}: signal {} ({})", m[1].str(), m[2].str(), m[3].str(),
                        m[4].str()));
  } else if (std::regex_search(text, m, killed_by_slurm)) {
    take(3, fmt::format("rank {} on {}: {}", m[2].str(), m[1].str(), m[3].str()));
  } else if (std::regex_search(text, m, lost)) {
    take(4, fmt::format("rank {}: {}", m[1].str(), m[2].str()));
  } else if (std::regex_search(text, m, aborted)) {
    take(2, m[1].str());
  }
}

int kill_marked_processes(const std::string& marker, std::chrono::milliseconds patience) {
  const std::string entry = fmt::format("{}={}", kGangVariable, marker);
  const auto give_up = Clock::now() + patience;
  int first_count = -1;
  while (true) {
    int count = 0;
    std::error_code error;
    for (const auto& process : fs::directory_iterator("/proc", error)) {
      const auto name = process.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const pid_t pid = static_cast<pid_t>(std::atol(name.c_str()));
      if (pid == ::getpid()) continue;
      std::ifstream file(process.path() / "environ", std::ios::binary);
      bool marked = false;
      for (std::string one; !marked && std::getline(file, one, '\0');) marked = one == entry;
      if (!marked) continue;
      ++count;
      ::kill(pid, SIGKILL);
    }
    if (first_count < 0) first_count = count;
    if (count == 0 || Clock::now() >= give_up) return first_count;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int supervise(const std::vector<std::string>& command, const SuperviseOptions& options) {
  std::signal(SIGINT, on_supervisor_signal);
  std::signal(SIGTERM, on_supervisor_signal);
  constexpr int kLossesWithoutWork = 3;
  std::string work = work_in(options.kept);
  int fruitless = 0;
  for (int losses = 0;;) {
    const auto marker = new_marker();
    Ended ended;
    {
      Child child(command, marker, options.read_errors);
      ended = child.wait(options);
    }
    // A killed launcher leaves ranks, a killed rank its encoder.
    const int left = kill_marked_processes(marker, std::chrono::milliseconds(5000));
    if (left > 0) fmt::print(stderr, "seamwright: ended {} process(es) that were left\n", left);
    if (asked_to_stop != 0) return exit_code(ErrorCode::kCancelled);
    if (ended.code == kCannotStart) {
      fail(ErrorCode::kNotFound,
           "{} cannot be started; install it (apt-get install openmpi-bin), or use --launcher none",
           command.front());
    }
    if (!worth_another_try(ended)) return ended.code;
    ++losses;
    const auto now = work_in(options.kept);
    fruitless = now == work ? fruitless + 1 : 0;
    work = now;
    const auto why = describe(ended);
    if (losses > options.restarts) {
      fmt::print(stderr, "seamwright: lost: {}; no restart is left of {}\n", why, options.restarts);
      return exit_code(ErrorCode::kUnavailable);
    }
    if (fruitless >= kLossesWithoutWork) {
      fmt::print(
          stderr,
          "seamwright: lost: {}; {} attempts in a row got nowhere, so this job would be lost "
          "again: what is done is kept in {}\n",
          why, fruitless, options.kept.string());
      return exit_code(ErrorCode::kUnavailable);
    }
    fmt::print(stderr, "seamwright: lost: {}; starting again ({} of {})\n", why, losses,
               options.restarts);
  }
}

}  // namespace seamwright::cli

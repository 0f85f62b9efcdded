#include "coordinator/supervisor/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "coordinator/supervisor/marked_processes.h"

extern char** environ;

namespace seamwright::coordinator {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kLook{50};
constexpr std::chrono::seconds kKillPatience{10};

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return fmt::format("it was ended by signal {}", WTERMSIG(status));
  return fmt::format("it ended with exit code {}", WEXITSTATUS(status));
}

// In the child between fork and exec: only what is safe there.
[[noreturn]] void become(char* const* argv, char* const* environment, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const int null = ::open("/dev/null", O_RDWR);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::close_range(3, ~0U, 0);
  ::execve(argv[0], argv, environment);
  ::_exit(127);
}

}  // namespace

struct Supervisor::Impl {
  struct Child {
    LocalGang gang;
    pid_t pid = -1;     // -1 = not running
    bool over = false;  // ended by agreement: not started again
    int starts = 0, quick_ends = 0;
    Clock::time_point started{}, next_start{};
  };

  explicit Impl(SupervisorOptions o) : options(std::move(o)) {
    for (auto& gang : options.gangs) {
      Child child;
      child.gang = gang;
      children.push_back(std::move(child));
    }
  }

  std::string mark_of(const Child& child) const { return options.mark + "/" + child.gang.name; }

  // The thread that forks must live as long as the children: their parent-death signal follows it.
  void loop() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      for (auto& child : children) {
        if (child.pid > 0) {
          look_after(child, lock);
        } else if (!child.over && Clock::now() >= child.next_start) {
          start(child);
        }
      }
      changed.wait_for(lock, kLook, [this] { return stopping; });
    }
    end_all(lock);
  }

  void start(Child& child) {
    std::vector<std::string> environment;
    const std::string mark = std::string(kGangMark) + "=" + mark_of(child);
    for (char** entry = environ; *entry != nullptr; ++entry) {
      if (!std::string_view(*entry).starts_with(std::string(kGangMark) + "=")) {
        environment.emplace_back(*entry);
      }
    }
    environment.push_back(mark);
    std::vector<char*> argv, envp;
    for (auto& part : child.gang.argv) argv.push_back(part.data());
    argv.push_back(nullptr);
    for (auto& entry : environment) envp.push_back(entry.data());
    envp.push_back(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) become(argv.data(), envp.data(), parent);
    child.started = Clock::now();
    ++child.starts;
    if (pid < 0) {
      log_error("gang {} cannot be started: no more processes", child.gang.name);
      delay(child);
      return;
    }
    child.pid = pid;
    log_info("gang {} started as process {}", child.gang.name, pid);
  }

  void delay(Child& child) {
    const bool healthy = Clock::now() - child.started > options.healthy_after;
    child.quick_ends = healthy ? 0 : child.quick_ends + 1;
    auto wait = options.first_delay;
    for (int i = 1; i < child.quick_ends && wait < options.longest_delay; ++i) wait *= 2;
    child.next_start = Clock::now() + std::min(wait, options.longest_delay);
  }

  void look_after(Child& child, std::unique_lock<std::mutex>& lock) {
    int status = 0;
    if (::waitpid(child.pid, &status, WNOHANG) != child.pid) return;
    child.pid = -1;
    const auto how = how_it_ended(status);
    child.over = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const auto name = child.gang.name;
    const auto mark = mark_of(child);
    lock.unlock();
    // Ranks and encoders that outlive their launcher would compute for nobody.
    const int left = kill_marked(mark, kKillPatience);
    if (left > 0) log_error("gang {}: {} processes cannot be ended", name, left);
    log_info("gang {}: {}", name, how);
    if (options.ended) options.ended(name, how, false);
    lock.lock();
    delay(child);
  }

  void end_all(std::unique_lock<std::mutex>& lock) {
    lock.unlock();
    kill_marked(options.mark, kKillPatience);
    for (auto& child : children) {
      if (child.pid > 0) {
        ::kill(child.pid, SIGKILL);
        ::waitpid(child.pid, nullptr, 0);
      }
    }
    // What a launcher started after the first look.
    kill_marked(options.mark, kKillPatience);
    for (auto& child : children) {
      if (child.pid > 0 && options.ended) {
        options.ended(child.gang.name, "the service stopped it", true);
      }
      child.pid = -1;
    }
    lock.lock();
  }

  SupervisorOptions options;
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::vector<Child> children;
  bool stopping = false;
  std::thread thread;
};

Supervisor::Supervisor(SupervisorOptions options) {
  require(!options.mark.empty(), "a supervisor needs a mark for its processes");
  const int left = kill_marked(options.mark, kKillPatience);
  if (left > 0) {
    fail(ErrorCode::kUnavailable,
         "{} processes of an earlier service cannot be ended: end them, then start again", left);
  }
  impl_ = std::make_shared<Impl>(std::move(options));
  impl_->thread = std::thread([impl = impl_.get()] { impl->loop(); });
}

Supervisor::~Supervisor() { stop(); }

void Supervisor::stop() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    impl_->changed.notify_all();
  }
  if (impl_->thread.joinable()) impl_->thread.join();
}

bool Supervisor::kill(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  for (const auto& child : impl_->children) {
    if (child.gang.name != name) continue;
    // By id too: between fork and exec the launcher does not carry the mark yet.
    if (child.pid > 0) ::kill(child.pid, SIGKILL);
    for (const pid_t pid : processes_marked(impl_->mark_of(child))) ::kill(pid, SIGKILL);
    return true;
  }
  return false;
}

nlohmann::json Supervisor::state() const {
  const std::lock_guard lock(impl_->mutex);
  auto list = nlohmann::json::array();
  for (const auto& child : impl_->children) {
    list.push_back({{"gang", child.gang.name},
                    {"pid", child.pid > 0 ? nlohmann::json(child.pid) : nlohmann::json(nullptr)},
                    {"starts", child.starts},
                    {"state", child.pid > 0 ? "running"
                              : child.over  ? "ended"
                                            : "waiting"}});
  }
  return list;
}

}  // namespace seamwright::coordinator

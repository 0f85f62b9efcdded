#include "media/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "base/error.h"

extern char** environ;

namespace seamwright::media {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kErrorTailBytes = 8192;

// Keeps our ends of pipes away from 0..3, which the child's own descriptors are moved to.
FileDescriptor above_standard(int fd) {
  FileDescriptor low(fd);
  if (fd > 3) return low;
  FileDescriptor high(::fcntl(fd, F_DUPFD_CLOEXEC, 10));
  if (!high) fail(ErrorCode::kResource, "no free file descriptor: {}", errno_text(errno));
  return high;
}

struct Pipe {
  FileDescriptor read, write;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    fail(ErrorCode::kResource, "cannot make a pipe: {}", errno_text(errno));
  }
  FileDescriptor second(ends[1]);
  Pipe made{above_standard(ends[0]), {}};
  made.write = second.get() > 3 ? std::move(second) : above_standard(::dup(second.get()));
  return made;
}

// A socket pair, not a pipe: send() can be told not to raise SIGPIPE, so that no process-wide
// signal setting has to change.
Pipe make_input() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    fail(ErrorCode::kResource, "cannot make a socket pair: {}", errno_text(errno));
  }
  FileDescriptor second(ends[1]);
  Pipe made{above_standard(ends[0]), {}};
  made.write = second.get() > 3 ? std::move(second) : above_standard(::dup(second.get()));
  return made;
}

FileDescriptor memory_file(const std::string& text) {
  FileDescriptor file = above_standard(::memfd_create("seamwright", MFD_CLOEXEC));
  if (!file) fail(ErrorCode::kResource, "cannot make a memory file: {}", errno_text(errno));
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(file.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(ErrorCode::kResource, "cannot fill a memory file: {}", errno_text(errno));
    done += static_cast<std::size_t>(n);
  }
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    sigset_t none;
    sigset_t defaults;
    ::sigemptyset(&none);
    ::sigfillset(&defaults);
    ::sigdelset(&defaults, SIGKILL);
    ::sigdelset(&defaults, SIGSTOP);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    // A group of its own: Ctrl-C in a terminal must reach us alone, so that we can end the stream
    // in order and the file stays playable.
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  void connect(int ours, int theirs, int flags) {
    if (ours >= 0) {
      ::posix_spawn_file_actions_adddup2(&actions, ours, theirs);
    } else {
      ::posix_spawn_file_actions_addopen(&actions, theirs, "/dev/null", flags, 0);
    }
  }

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

void apply_limits(pid_t pid, const ChildLimits& limits) {
  const auto set = [pid](__rlimit_resource what, std::int64_t value) {
    if (value <= 0) return;
    const rlimit limit{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
    ::prlimit(pid, what, &limit, nullptr);
  };
  set(RLIMIT_AS, limits.memory_bytes);
  set(RLIMIT_CPU, limits.cpu_seconds);
  set(RLIMIT_CORE, 1);
}

}  // namespace

ChildProcess::ChildProcess(const ChildSpec& spec) {
  ensure(!spec.argv.empty(), "a child process needs a program name");
  name_ = spec.argv.front();
  stop_ = spec.stop;
  Pipe input;
  Pipe output;
  Pipe errors = make_pipe();
  FileDescriptor extra;
  if (spec.pipe_input) input = make_input();
  if (spec.pipe_output) output = make_pipe();
  if (!spec.extra_input.empty()) extra = memory_file(spec.extra_input);

  SpawnSettings settings;
  settings.connect(input.read.get(), 0, O_RDONLY);
  settings.connect(output.write.get(), 1, O_WRONLY);
  settings.connect(errors.write.get(), 2, O_WRONLY);
  if (extra) settings.connect(extra.get(), 3, O_RDONLY);
  ::posix_spawn_file_actions_addclosefrom_np(&settings.actions, extra ? 4 : 3);

  std::vector<char*> argv;
  for (const std::string& arg : spec.argv) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  const int error = ::posix_spawnp(&pid_, name_.c_str(), &settings.actions, &settings.attributes,
                                   argv.data(), environ);
  if (error != 0) {
    pid_ = -1;
    if (error == ENOENT) {
      fail(ErrorCode::kNotFound, "the program '{}' was not found on PATH", name_);
    }
    fail(ErrorCode::kUnavailable, "cannot start '{}': {}", name_, errno_text(error));
  }
  apply_limits(pid_, spec.limits);
  input_ = std::move(input.write);
  output_ = std::move(output.read);
  errors_ = std::move(errors.read);
  for (const FileDescriptor* end : {&input_, &output_, &errors_}) {
    if (*end) ::fcntl(end->get(), F_SETFL, ::fcntl(end->get(), F_GETFL) | O_NONBLOCK);
  }
}

ChildProcess::~ChildProcess() { kill_now(); }

void ChildProcess::kill_now() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  reap(true);
  drain_errors();
}

bool ChildProcess::reap(bool block) {
  if (pid_ <= 0) return true;
  int status = 0;
  pid_t got = -1;
  do {
    got = ::waitpid(pid_, &status, block ? 0 : WNOHANG);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return false;
  pid_ = -1;
  if (got < 0) {
    exit_ = {.code = 255, .signal = 0};  // someone else reaped it: its success is not known
  } else if (WIFSIGNALED(status)) {
    exit_ = {.code = 0, .signal = WTERMSIG(status)};
  } else {
    exit_ = {.code = WEXITSTATUS(status), .signal = 0};
  }
  return true;
}

void ChildProcess::drain_errors() {
  std::array<char, 4096> buffer{};
  while (errors_) {
    const ssize_t n = ::read(errors_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;  // nothing now
    if (n == 0) {
      errors_.reset();
      return;
    }
    error_text_.append(buffer.data(), static_cast<std::size_t>(n));
    if (error_text_.size() > kErrorTailBytes) {
      error_text_.erase(0, error_text_.size() - kErrorTailBytes);
    }
  }
}

void ChildProcess::stalled(std::chrono::milliseconds limit) {
  kill_now();
  fail(ErrorCode::kUnavailable, "'{}' made no progress for {:.1f} s and was stopped. {}", name_,
       static_cast<double>(limit.count()) / 1000.0, error_text_);
}

void ChildProcess::check_stop() {
  if (stop_ == nullptr || !*stop_) return;
  kill_now();
  fail(ErrorCode::kCancelled, "'{}' was stopped on request", name_);
}

bool ChildProcess::write_all(std::span<const std::byte> bytes,
                             std::chrono::milliseconds stall_limit) {
  Clock::time_point last_progress = Clock::now();
  while (!bytes.empty()) {
    check_stop();
    if (!input_) return false;
    const ssize_t n = ::send(input_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      last_progress = Clock::now();
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {  // EPIPE, ECONNRESET
      input_.reset();
      return false;
    }
    std::array<pollfd, 2> waits{pollfd{input_.get(), POLLOUT, 0}, pollfd{errors_.get(), POLLIN, 0}};
    ::poll(waits.data(), errors_ ? 2 : 1, 1000);
    drain_errors();
    if (Clock::now() - last_progress > stall_limit) stalled(stall_limit);
  }
  return true;
}

std::size_t ChildProcess::read_some(std::span<std::byte> into,
                                    std::chrono::milliseconds stall_limit) {
  const Clock::time_point start = Clock::now();
  while (output_ && !into.empty()) {
    check_stop();
    const ssize_t n = ::read(output_.get(), into.data(), into.size());
    if (n > 0) return static_cast<std::size_t>(n);
    if (n == 0) {
      output_.reset();
      break;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      fail(ErrorCode::kIo, "cannot read from '{}': {}", name_, errno_text(errno));
    }
    std::array<pollfd, 2> waits{pollfd{output_.get(), POLLIN, 0}, pollfd{errors_.get(), POLLIN, 0}};
    ::poll(waits.data(), errors_ ? 2 : 1, 1000);
    drain_errors();
    if (Clock::now() - start > stall_limit) stalled(stall_limit);
  }
  return 0;
}

ChildExit ChildProcess::wait_exit(std::chrono::milliseconds limit,
                                  const std::function<std::uint64_t()>& sign) {
  input_.reset();
  output_.reset();
  Clock::time_point end = Clock::now() + limit;
  std::uint64_t last = sign ? sign() : 0;
  while (true) {
    drain_errors();
    if (reap(false)) {
      drain_errors();
      return exit_;
    }
    check_stop();
    if (sign && Clock::now() > end) {
      const auto now = sign();
      if (now != last) end = Clock::now() + limit;
      last = now;
    }
    if (Clock::now() > end) {
      kill_now();
      fail(ErrorCode::kUnavailable, "'{}' did not end within {:.1f} s and was stopped. {}", name_,
           static_cast<double>(limit.count()) / 1000.0, error_text_);
    }
    if (errors_) {
      pollfd wait{errors_.get(), POLLIN, 0};
      ::poll(&wait, 1, 10);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

ChildResult run_child(const ChildSpec& spec, std::chrono::milliseconds limit,
                      std::size_t output_limit) {
  ChildSpec captured = spec;
  captured.pipe_output = true;
  ChildProcess child(captured);
  ChildResult result;
  std::vector<std::byte> buffer(64U << 10U);
  const Clock::time_point end = Clock::now() + limit;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    const std::size_t n = child.read_some(buffer, left);
    if (n == 0) break;
    if (result.output.size() + n > output_limit) {
      fail(ErrorCode::kResource, "'{}' printed more than {} bytes", child.name(), output_limit);
    }
    result.output.append(reinterpret_cast<const char*>(buffer.data()), n);
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
  result.exit = child.wait_exit(std::max(left, std::chrono::milliseconds(1000)));
  result.errors = child.error_text();
  return result;
}

}  // namespace seamwright::media

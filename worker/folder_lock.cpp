#include "worker/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>
#include <thread>

#include "base/error.h"
#include "media/files.h"

namespace seamwright::worker {
namespace {

constexpr const char* kLockName = "lock";
constexpr const char* kGenerationName = "generation";

std::int64_t read_generation(const std::filesystem::path& folder) {
  const auto path = folder / kGenerationName;
  if (!std::filesystem::exists(path)) return 0;
  const auto text = media::read_file(path, 64);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || *end != '\n' || value < 0) {
    fail(ErrorCode::kCorrupt,
         "{} does not hold a number; if no other process uses the folder, "
         "write a larger one than any attempt named in it",
         path.string());
  }
  return value;
}

std::string owner_of(const std::filesystem::path& lock) {
  std::string text = media::read_file(lock, 4096);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.empty() ? "another process" : text;
}

std::string own_name() {
  char host[256] = {};
  ::gethostname(host, sizeof(host) - 1);
  return fmt::format("process {} on {}\n", ::getpid(), host);
}

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder, std::chrono::milliseconds patience)
    : folder_(folder) {
  const auto path = folder / kLockName;
  file_ = media::FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!file_) {
    fail(ErrorCode::kIo, "cannot open {}: {}", path.string(), std::strerror(errno));
  }
  const auto give_up = std::chrono::steady_clock::now() + patience;
  while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      fail(ErrorCode::kIo, "cannot lock {}: {}", path.string(), std::strerror(errno));
    }
    if (std::chrono::steady_clock::now() >= give_up) {
      throw Error(ErrorCode::kUnavailable,
                  fmt::format("{} is in use by {}: wait for it or end it, or give another folder",
                              folder.string(), owner_of(path)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  const auto name = own_name();
  if (::ftruncate(file_.get(), 0) != 0 ||
      ::pwrite(file_.get(), name.data(), name.size(), 0) != static_cast<ssize_t>(name.size())) {
    fail(ErrorCode::kIo, "cannot write {}: {}", path.string(), std::strerror(errno));
  }
  // Durable before it is used: no two attempts ever have the same number.
  generation_ = read_generation(folder) + 1;
  const auto begin = std::chrono::steady_clock::now();
  media::write_file_atomically(folder / kGenerationName, fmt::format("{}\n", generation_));
  write_s_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void FolderLock::check() const {
  const auto now = read_generation(folder_);
  if (now != generation_) {
    fail(ErrorCode::kUnavailable,
         "{} was taken over by attempt {}; this is attempt {}, which is too late and stops",
         folder_.string(), now, generation_);
  }
}

}  // namespace seamwright::worker

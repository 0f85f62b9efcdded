#include "media/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/error.h"
#include "media/file_descriptor.h"

namespace seamwright::media {
namespace fs = std::filesystem;
namespace {

fs::path folder_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

[[noreturn]] void write_failed(const fs::path& path, int error) {
  fail(ErrorCode::kIo, "cannot write {}: {}", path.string(), errno_text(error));
}

}  // namespace

std::string read_file(const fs::path& path, std::int64_t max_bytes) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    const int error = errno;
    fail(error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo,
         "cannot open {}: {}", path.string(), errno_text(error));
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    fail(ErrorCode::kIo, "{} is not a regular file", path.string());
  }
  if (info.st_size > max_bytes) {
    fail(ErrorCode::kResource, "{} has {} bytes; at most {} are accepted", path.string(),
         static_cast<std::int64_t>(info.st_size), max_bytes);
  }
  std::string bytes(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorCode::kIo, "cannot read {}: {}", path.string(), errno_text(errno));
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  fs::path temporary = path;
  temporary += ".tmp-" + std::to_string(::getpid());
  {
    FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!file) write_failed(path, errno);
    int error = 0;
    while (!bytes.empty() && error == 0) {
      const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
      if (n >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno != EINTR) {
        error = errno;
      }
    }
    if (error == 0 && ::fsync(file.get()) != 0) error = errno;
    if (error != 0) {
      ::unlink(temporary.c_str());
      write_failed(path, error);
    }
  }
  publish(temporary, path);
}

std::uint64_t file_sign(const fs::path& path) noexcept {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return 0;
  const auto nanoseconds = static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000U +
                           static_cast<std::uint64_t>(status.st_mtim.tv_nsec);
  return nanoseconds * 0x9e3779b97f4a7c15U ^ static_cast<std::uint64_t>(status.st_size);
}

void sync_path(const fs::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::fsync(file.get()) != 0) write_failed(path, errno);
}

void publish(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) write_failed(to, errno);
  sync_path(folder_of(to));
}

std::vector<fs::path> create_folders(const fs::path& path) {
  fs::path at = fs::absolute(path).lexically_normal();
  if (!at.has_filename()) at = at.parent_path();
  std::vector<fs::path> holders;
  for (auto missing = at; !fs::exists(missing); missing = missing.parent_path()) {
    holders.push_back(missing.parent_path());
  }
  std::error_code error;
  fs::create_directories(at, error);
  if (error) fail(ErrorCode::kIo, "cannot create the folder {}: {}", at.string(), error.message());
  for (const auto& holder : holders) sync_path(holder);
  return holders;
}

void prepare_parent_folder(const fs::path& path) {
  const fs::path folder = folder_of(path);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder)) {
    fail(ErrorCode::kIo, "cannot create the folder {}: {}", folder.string(),
         error ? error.message() : "a file has that name");
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    fail(ErrorCode::kIo, "cannot write into the folder {}: {}. Choose another --out",
         folder.string(), errno_text(errno));
  }
  // Permission is not all: /proc, a full table of files. A file that is made tells.
  std::string trial = (folder / ".seamwright-XXXXXX").string();
  FileDescriptor file(::mkstemp(trial.data()));
  if (!file) {
    fail(ErrorCode::kIo, "cannot make a file in the folder {}: {}. Choose another --out",
         folder.string(), errno_text(errno));
  }
  ::unlink(trial.c_str());
}

}  // namespace seamwright::media

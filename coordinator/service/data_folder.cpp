#include "coordinator/service/data_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/failpoint.h"
#include "media/files.h"

namespace seamwright::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVideos = "videos";
constexpr const char* kSegments = "segments";
constexpr const char* kPreviews = "previews";
constexpr const char* kTimelines = "timelines";
constexpr const char* kInputs = "inputs";

// The file's content, synchronised if asked. Leaves no file behind when it fails.
void write_whole(const fs::path& path, std::span<const std::byte> bytes, bool synchronise) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  int error = descriptor < 0 ? errno : 0;
  while (error == 0 && !bytes.empty()) {
    const auto written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno != EINTR) error = errno;
      continue;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  if (error == 0 && synchronise && ::fsync(descriptor) != 0) error = errno;
  if (descriptor >= 0 && ::close(descriptor) != 0 && error == 0) error = errno;
  if (error == 0) return;
  ::unlink(path.c_str());
  fail(error == ENOSPC || error == EDQUOT ? ErrorCode::kResource : ErrorCode::kIo,
       "{} cannot be written: {}{}", path.string(), std::strerror(error),
       error == ENOSPC ? "; make room on the disk that holds --data" : "");
}

}  // namespace

DataFolder::DataFolder(const fs::path& path) : path_(fs::absolute(path)) {
  std::error_code error;
  for (const char* part : {kVideos, kSegments, kPreviews, kTimelines, kInputs}) {
    fs::create_directories(path_ / part, error);
    if (error) {
      fail(ErrorCode::kIo, "the data folder {} cannot be made: {}", path_.string(),
           error.message());
    }
  }
  lock_ = ::open((path_ / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) {
    fail(ErrorCode::kIo, "the data folder {} cannot be locked: {}", path_.string(),
         std::strerror(errno));
  }
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    fail(ErrorCode::kUnavailable,
         "another service uses the data folder {}; stop it, or give "
         "another --data",
         path_.string());
  }
}

DataFolder::~DataFolder() { ::close(lock_); }

fs::path DataFolder::preview(const std::string& job) const {
  return path_ / kPreviews / (job + ".png");
}

fs::path DataFolder::timeline(const std::string& job) const {
  return path_ / kTimelines / (job + ".json");
}

void DataFolder::write_durably(const std::string& name, std::span<const std::byte> bytes,
                               const std::string& what) const {
  const auto target = file(name);
  const fs::path draft = target.string() + ".tmp";
  failpoint("before." + what);
  write_whole(draft, bytes, true);
  failpoint("between." + what);
  media::publish(draft, target);
  failpoint("after." + what);
}

void DataFolder::link_durably(const fs::path& from, const std::string& name) const {
  const auto target = file(name);
  const fs::path draft = target.string() + ".tmp";
  std::error_code error;
  failpoint("before.link");
  fs::remove(draft, error);
  fs::create_hard_link(from, draft, error);
  if (error) {  // a file system without links
    error.clear();
    fs::copy_file(from, draft, error);
    if (!error) media::sync_path(draft);
  }
  if (error) {
    std::error_code ignored;
    fs::remove(draft, ignored);
    fail(error == std::errc::no_space_on_device ? ErrorCode::kResource : ErrorCode::kIo,
         "{} cannot be taken over: {}", name, error.message());
  }
  failpoint("between.link");
  media::publish(draft, target);
  failpoint("after.link");
}

void DataFolder::write_lightly(const fs::path& file, std::span<const std::byte> bytes) const {
  const fs::path draft = file.string() + ".tmp";
  write_whole(draft, bytes, false);
  fs::rename(draft, file);
}

void DataFolder::remove_file(const std::string& name) const noexcept {
  std::error_code ignored;
  fs::remove(file(name), ignored);
}

void DataFolder::remove_left_drafts() const noexcept {
  const auto own = fmt::format(".partial-{}.", ::getpid());
  std::error_code error;
  for (fs::directory_iterator at(path_ / kVideos, error), end; !error && at != end;
       at.increment(error)) {
    const auto name = at->path().filename().string();
    if (name.find(".partial-") == std::string::npos || name.find(own) != std::string::npos)
      continue;
    std::error_code ignored;
    fs::remove(at->path(), ignored);
  }
}

void DataFolder::keep_only(const std::set<std::string>& names,
                           const std::set<std::string>& jobs) const {
  std::error_code error;
  for (const char* part : {kVideos, kSegments, kPreviews, kTimelines, kInputs}) {
    const bool by_job = part == kPreviews || part == kTimelines;
    for (const auto& entry : fs::directory_iterator(path_ / part, error)) {
      const auto file = entry.path();
      const bool known = by_job
                             ? jobs.contains(file.stem().string())
                             : names.contains(std::string(part) + "/" + file.filename().string());
      if (!known) fs::remove_all(file, error);
    }
  }
}

}  // namespace seamwright::coordinator

#include "worker/scratch_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>

#include "base/error.h"

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "seamwright-gang-";

media::FileDescriptor open_folder(const fs::path& path) {
  // O_NOFOLLOW: the parent is usually /tmp, where anybody may put a link of this name
  return media::FileDescriptor(
      ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

bool left_by_the_dead(const fs::path& path) {
  const auto folder = open_folder(path);
  struct stat about = {};
  return static_cast<bool>(folder) && ::fstat(folder.get(), &about) == 0 &&
         about.st_uid == ::geteuid() && ::flock(folder.get(), LOCK_EX | LOCK_NB) == 0;
}

void remove_what_the_dead_left(const fs::path& parent) {
  std::error_code ignored;
  for (fs::directory_iterator at(parent, ignored), end; at != end; at.increment(ignored)) {
    const auto& path = at->path();
    if (path.filename().string().starts_with(kPrefix) && left_by_the_dead(path)) {
      std::error_code kept;
      fs::remove_all(path, kept);
    }
  }
}

}  // namespace

ScratchFolder::ScratchFolder(const fs::path& parent) {
  remove_what_the_dead_left(parent);
  // Made and locked under another name first: under its own it is never seen unlocked.
  std::string name = (parent / ".seamwright-new-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    fail(ErrorCode::kIo,
         "cannot make a temporary folder in {}: {}; set TMPDIR to a writable folder",
         parent.string(), std::strerror(errno));
  }
  lock_ = open_folder(name);
  const bool locked = lock_ && ::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0;
  path_ = parent / (kPrefix + name.substr(name.size() - 6));
  std::error_code error;
  if (locked) fs::rename(name, path_, error);
  if (!locked || error) {
    ::rmdir(name.c_str());
    fail(ErrorCode::kIo, "cannot lock a temporary folder in {}: {}", parent.string(),
         error ? error.message() : std::strerror(errno));
  }
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace seamwright::worker

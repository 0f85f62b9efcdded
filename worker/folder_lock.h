// Who may write to a folder: one process at a time, and of those only the latest.
// Threads: check() from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>

#include "media/file_descriptor.h"

namespace seamwright::worker {

// An exclusive lock that ends with the process, and a generation number that grows with every
// owner. Where the lock is lost while its owner is merely slow (a network file system, a host cut
// off), the number tells it apart from its successor.
class FolderLock {
 public:
  // Waits up to `patience` for an owner that is just dying. Throws kUnavailable naming the owner.
  FolderLock(const std::filesystem::path& folder, std::chrono::milliseconds patience);

  std::int64_t generation() const { return generation_; }
  // What one small durable write took here.
  double write_s() const { return write_s_; }
  // Throws kUnavailable when a later generation has taken the folder over.
  void check() const;

 private:
  std::filesystem::path folder_;
  media::FileDescriptor file_;
  std::int64_t generation_ = 0;
  double write_s_ = 0;
};

}  // namespace seamwright::worker

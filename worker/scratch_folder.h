// A temporary folder that does not outlive its process for long, even if that is killed.
// Threads: one at a time.
#pragma once

#include <filesystem>

#include "media/file_descriptor.h"

namespace seamwright::worker {

// A new, empty folder under `parent`, gone with this object. A process that is killed leaves its
// folder behind: the next one made beside it removes it. Which folders are still used is told by a
// lock on the folder, not by a process number: numbers are used again, and mean nothing to another
// container that shares the parent.
class ScratchFolder {
 public:
  // Throws kIo where `parent` cannot be written to.
  explicit ScratchFolder(const std::filesystem::path& parent);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  media::FileDescriptor lock_;
};

}  // namespace seamwright::worker

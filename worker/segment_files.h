// Committed segments of a folder store: a media file, and beside it the JSON that makes it count.
// Threads: pure but for the files; safe anywhere on different folders.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "worker/durable_store.h"

namespace seamwright::worker {

// Segments from frame 0 on, up to the first that is missing, damaged, or of another identity; what
// is ignored is said through `warn`.
std::vector<Segment> read_segments(const std::filesystem::path& folder,
                                   const Sha256Digest& fingerprint,
                                   const std::function<void(const std::string&)>& warn);

// Gives the segment's file its name in `folder`, then commits it. `between` runs in the middle.
Segment write_segment(const std::filesystem::path& folder, const Sha256Digest& fingerprint,
                      std::int64_t attempt, Segment segment, const std::function<void()>& between);

}  // namespace seamwright::worker

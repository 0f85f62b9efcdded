// The video of a job that may be interrupted: frames go into segments, each committed before it
// counts; at the end the segments are joined.
// Threads: one thread, in frame order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "media/segment_writer.h"
#include "worker/durable_store.h"

namespace seamwright::worker {

class SegmentedOutput {
 public:
  // `out`: the joined video; empty when only the digests are kept. `notes` is asked for at each
  // commit; `committed` is told the first frame that is missing after it.
  struct Options {
    std::filesystem::path out;
    media::VideoOptions video;
    bool join = true;         // false: another joins the segments
    std::int64_t frames = 0;  // of the whole video
    std::int64_t segment_frames = 0;
    std::function<nlohmann::json()> notes;
    std::function<void(std::int64_t first_missing_frame)> committed;
  };
  SegmentedOutput(DurableStore& store, Options options);

  // Frames in order, from the first missing one.
  void add(const Sha256Digest& latent, const media::RgbView& frame);
  std::int64_t first_missing_frame() const { return next_segment_; }
  // Joins what is there; all frames must be. Returns the video's path, empty without one.
  std::filesystem::path finish();

 private:
  void commit();

  DurableStore& store_;
  Options options_;
  std::vector<std::filesystem::path> files_;
  std::int64_t next_segment_ = 0;
  Segment open_;
  std::optional<media::SegmentWriter> writer_;
};

}  // namespace seamwright::worker

// Where finished frames go: digest, seam measures, the video file, and on request the latents.
// Threads: one at a time, in frame order; frames() from any.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"
#include "media/metadata.h"
#include "media/video_writer.h"
#include "worker/generate.h"
#include "worker/seam_metrics.h"
#include "worker/segmented_output.h"
#include "worker/task_runner.h"

namespace seamwright::worker {

// Threads for the encoder of a job on this backend, on a host with so many cores, unless the
// options name them. Where the processor computes, two: the rest is busy, and the bits are those of
// any machine. Where a GPU does, nearly all that the rank has, up to sixteen.
int encoder_threads_for(const GenerateOptions& options, std::string_view backend, int cores);

// Owns the files being written.
class Outputs {
 public:
  // With a store the video is made in segments and goes on from those that are there; `committed`
  // is told the first missing frame after each.
  Outputs(const GenerateOptions& options, const Job& job, const media::MediaMetadata& metadata,
          int encoder_threads, DurableStore* store = nullptr,
          std::function<void(std::int64_t)> committed = {});

  void chunk(const DecodedChunk& chunk);
  // The final file, or after a stop the playable part; empty when there is none.
  std::filesystem::path finish_video(bool complete);
  void write_latents() const;
  // As the video's sidecar names the latents: seen from its own folder, so that both can be moved.
  std::string latents_name(const std::filesystem::path& video) const;

  // SHA-256 over the per-frame SHA-256 values in frame order; ends the digest.
  std::string digest_hex() { return to_hex(digest_.finish()); }
  std::int64_t frames() const { return frames_; }
  // Of those, what outlives this process.
  std::int64_t durable_frames() const { return segments_ ? segments_->first_missing_frame() : 0; }
  const SeamMetrics& seams() const { return seams_; }

 private:
  void open_segments(DurableStore& store, const media::VideoOptions& video,
                     std::function<void(std::int64_t)> committed);

  const GenerateOptions& options_;
  const Job& job_;
  SeamMetrics seams_;
  std::optional<media::VideoWriter> writer_;
  std::optional<SegmentedOutput> segments_;
  Sha256 digest_;
  std::atomic<std::int64_t> frames_ = 0;
  std::vector<float> latents_;
};

}  // namespace seamwright::worker

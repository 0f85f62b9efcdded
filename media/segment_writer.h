// Pieces of a video that can be played while it grows, and joined without encoding again: each is a
// fragmented mp4 of its own, closed, on an absolute-frame grid, with constant settings.
//
// Segment 0 whole, then of every later segment what media_part() leaves, is one playable stream:
// its time goes on from segment to segment. docs/formats/checkpoint.md names the boxes.
// Threads: one writer is used by one thread at a time; functions are safe anywhere on different
// files.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "media/video_writer.h"

namespace seamwright::media {

// Ticks and frame durations of a segment's track; a frame lasts a whole number of ticks.
struct TrackTime {
  std::int64_t rate_numerator = 8;  // frames a second, as a fraction
  std::int64_t rate_denominator = 1;
  std::int64_t ticks_per_second = 0;
  std::int64_t ticks_per_frame = 0;
};
TrackTime track_time(double fps);

class SegmentWriter {
 public:
  // `options` must be equal for all segments of a video (format and fragmented are ignored, and so
  // are the metadata's request and models: only the joined file has them).
  SegmentWriter(const std::filesystem::path& path, const VideoOptions& options,
                std::int64_t first_frame);

  void write(const RgbView& frame) { writer_.write(frame); }
  std::int64_t frames_written() const { return writer_.frames_written(); }
  // Waits for the encoder and puts the segment at its place in time. Returns its path; the file is
  // not yet synchronised.
  std::filesystem::path finish();

 private:
  VideoOptions options_;
  std::int64_t first_frame_;
  VideoWriter writer_;
};

// How many bytes at the start of a segment describe the stream (ftyp, moov) rather than frames.
// Throws kCorrupt when `segment` does not begin like one.
std::size_t init_size(std::string_view segment);
// The boxes of a later segment that continue the stream: its fragments (moof, mdat) alone.
std::string media_part(std::string_view segment);

// Copies the streams of all segments, in order, into one mp4 with faststart, metadata and marking
// as VideoWriter writes them; fsyncs and renames. Throws kCorrupt when a segment does not fit the
// first, kCancelled soon after `stop` (if given) has become true.
std::filesystem::path join_segments(std::span<const std::filesystem::path> segments,
                                    const std::filesystem::path& out, const VideoOptions& options,
                                    const std::atomic<bool>* stop = nullptr);

}  // namespace seamwright::media

// Frames out of a video, GIF or picture file, one at a time, decoded in a child process that has
// limits on pixels, frames, memory and time: the file may be hostile.
// Threads: one reader is used by one thread at a time. `next` blocks on the decoder.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "media/child_process.h"
#include "media/image.h"

namespace seamwright::media {

struct ReaderLimits {
  std::int64_t max_pixels = 16LL << 20;  // per frame: 4096x4096
  std::int64_t max_frames = 1LL << 20;
  double max_duration_s = 24 * 3600.0;
  std::int64_t max_memory_bytes = 4LL << 30;      // of the decoder
  std::int64_t max_cpu_seconds = 6 * 3600;        // of the decoder
  std::chrono::milliseconds stall_limit{60'000};  // without a frame
};

struct VideoInfo {
  int width = 0;  // as shown, after rotation
  int height = 0;
  double fps = 0;           // average; 0 when the file does not say
  double duration_s = 0;    // 0 when the file does not say
  std::int64_t frames = 0;  // as the container claims; 0 when it does not say
  std::string container;    // ffmpeg's name, "mov,mp4,m4a,3gp,3g2,mj2" for instance
  std::string codec;
  std::map<std::string, std::string> tags;  // lower-case keys; "comment" holds our JSON, "xmp"
};

// Reads the headers only. Throws kNotFound, kCorrupt (not a video), kResource (over a limit),
// kUnsupported (no ffprobe).
VideoInfo probe_video(const std::filesystem::path& path, const ReaderLimits& limits = {},
                      const std::string& ffprobe = "ffprobe");

struct ReaderOptions;
// How many frames the options choose of a video, by what it says of itself; 0 when it does not say.
std::int64_t chosen_frames(const VideoInfo& info, const ReaderOptions& options);

struct ReaderOptions {
  int width = 0;  // scale to this size; 0 = the file's own
  int height = 0;
  // Which frames: brought to a steady rate first (0 = every stored frame), then without the first
  // `skip`, then every `step`-th.
  double fps = 0;
  std::int64_t skip = 0;
  std::int64_t step = 1;
  ReaderLimits limits;
  std::string ffmpeg = "ffmpeg";
  std::string ffprobe = "ffprobe";
};

class VideoReader {
 public:
  explicit VideoReader(const std::filesystem::path& path, const ReaderOptions& options = {});

  const VideoInfo& info() const { return info_; }
  int width() const { return width_; }
  int height() const { return height_; }

  // The next of the frames that the options choose; false after the last one. Throws kCorrupt for
  // a damaged file and kResource when it exceeds the limits.
  bool next(RgbImage& frame);
  std::int64_t frames_read() const { return frames_; }

 private:
  std::filesystem::path path_;
  ReaderOptions options_;
  VideoInfo info_;
  int width_ = 0;
  int height_ = 0;
  std::int64_t frames_ = 0;
  bool ended_ = false;
  std::unique_ptr<ChildProcess> child_;
};

}  // namespace seamwright::media

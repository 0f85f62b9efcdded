// Streams RGB8 frames into an mp4, webm, gif, or a folder of PNG files, holding one frame at most.
// Threads: one writer is used by one thread at a time. `write` blocks while the encoder is busy.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "media/image.h"
#include "media/metadata.h"

namespace seamwright::media {

enum class VideoFormat { kMp4, kWebm, kGif, kPngSequence };

std::string_view to_string(VideoFormat format);

// By extension; a name without one, or ending in '/', is a folder of PNG files.
VideoFormat format_for_path(const std::filesystem::path& path);

// Every mp4 and webm has closed groups of pictures of this many frames and constant settings, so
// that files cut on this grid can be joined by stream copy.
inline constexpr int kGroupFrames = 48;

// As many as every machine has: where nobody asks for more, a
// video's bytes are the same everywhere.
inline constexpr int kEncoderThreads = 2;

struct VideoOptions {
  int width = 0;
  int height = 0;  // odd sides are made even for mp4 and webm by repeating the last row or column
  double fps = 8.0;
  std::optional<VideoFormat> format;  // by extension when absent
  int quality = 18;                   // H.264 rate factor: 0 best .. 51 worst
  int threads = kEncoderThreads;      // of the encoder; H.264's bits follow from the number
  bool fragmented = false;            // mp4 that can be played while it grows
  bool segment = false;               // one piece of a growing mp4; use segment_writer.h
  MediaMetadata metadata;
  std::string ffmpeg = "ffmpeg";  // program name, looked up on PATH
  std::chrono::milliseconds stall_limit{120'000};
};

// While frames are written the file is called NAME.partial.EXT (a folder: NAME.partial); only
// `finish` gives it its own name. If this process is killed, the encoder sees the end of its input
// and still completes the partial file.
class VideoWriter {
 public:
  // Checks options, destination and encoder. Throws kInvalidArgument, kIo, or kUnsupported.
  VideoWriter(const std::filesystem::path& path, const VideoOptions& options);
  ~VideoWriter();  // without finish or abandon: stops the encoder and deletes the partial file
  VideoWriter(VideoWriter&&) noexcept;
  VideoWriter& operator=(VideoWriter&&) noexcept;

  void write(const RgbView& frame);
  std::int64_t frames_written() const;

  // Waits for the encoder, embeds what it cannot, fsyncs and renames. Returns the final path.
  std::filesystem::path finish();

  // Stops early but keeps what is done: a playable NAME.partial.EXT. Returns its path, or an empty
  // path when no frame was written (then nothing is left behind).
  std::filesystem::path abandon();

 private:
  class Sink;
  class FfmpegSink;
  class PngSink;
  std::unique_ptr<Sink> sink_;
};

}  // namespace seamwright::media

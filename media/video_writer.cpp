#include "media/video_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "media/encoder_arguments.h"
#include "media/files.h"

namespace seamwright::media {
namespace fs = std::filesystem;
namespace {

// The index goes to the front of a whole file: of a large one that takes as long as it takes, but
// the file changes meanwhile.
constexpr std::chrono::milliseconds kFinishLimit{600'000};

fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

fs::path partial_name(const fs::path& path) {
  fs::path partial = path.parent_path() / path.stem();
  partial += ".partial";
  partial += path.extension();
  return partial;
}

bool is_frame_name(const fs::path& path) {
  const std::string stem = path.stem().string();
  return path.extension() == ".png" && !stem.empty() &&
         stem.find_first_not_of("0123456789") == std::string::npos;
}

// A folder may be replaced only if it holds nothing but numbered frames.
void check_replaceable(const fs::path& folder) {
  if (!fs::exists(folder)) return;
  if (!fs::is_directory(folder)) {
    fail(ErrorCode::kIo, "{} is a file; pictures need a folder (or name a .mp4, .webm or .gif)",
         folder.string());
  }
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!is_frame_name(entry.path())) {
      fail(ErrorCode::kIo, "the folder {} holds other files ({}); choose an empty or new one",
           folder.string(), entry.path().filename().string());
    }
  }
}

void check_options(const VideoOptions& options, VideoFormat format) {
  require(options.width > 0 && options.height > 0 && options.width <= kMaxSide &&
              options.height <= kMaxSide,
          "a video of {}x{} is outside 1x1 .. {}x{}", options.width, options.height, kMaxSide,
          kMaxSide);
  require(std::isfinite(options.fps) && options.fps >= 0.1 && options.fps <= 1000,
          "fps must be between 0.1 and 1000, not {}", options.fps);
  require(format != VideoFormat::kGif || options.fps <= 50,
          "a GIF shows at most 50 frames a second, not {}; lower --fps or write mp4", options.fps);
  require(options.threads >= 1 && options.threads <= 64, "an encoder has 1 .. 64 threads, not {}",
          options.threads);
  require(options.quality >= 0 && options.quality <= 51, "quality must be 0 .. 51, not {}",
          options.quality);
}

}  // namespace

std::string_view to_string(VideoFormat format) {
  switch (format) {
    case VideoFormat::kMp4:
      return "mp4";
    case VideoFormat::kWebm:
      return "webm";
    case VideoFormat::kGif:
      return "gif";
    case VideoFormat::kPngSequence:
      return "png sequence";
  }
  return "unknown";
}

VideoFormat format_for_path(const fs::path& path) {
  require(!path.empty(), "the output needs a name, such as out.mp4");
  if (!path.has_filename()) return VideoFormat::kPngSequence;
  std::string extension = path.extension().string();
  for (char& c : extension) c = (c >= 'A' && c <= 'Z') ? static_cast<char>(c - 'A' + 'a') : c;
  if (extension == ".mp4" || extension == ".m4v" || extension == ".mov") return VideoFormat::kMp4;
  if (extension == ".webm") return VideoFormat::kWebm;
  if (extension == ".gif") return VideoFormat::kGif;
  if (extension.empty()) return VideoFormat::kPngSequence;
  fail(ErrorCode::kInvalidArgument,
       "cannot tell the format of '{}': end it in .mp4, .webm or .gif, or name a folder (ending in "
       "'/') for numbered PNG files",
       path.string());
}

class VideoWriter::Sink {
 public:
  explicit Sink(fs::path path, fs::path partial)
      : path_(std::move(path)), partial_(std::move(partial)) {}
  virtual ~Sink() = default;
  virtual void write(const RgbView& frame) = 0;
  virtual void complete() = 0;          // the partial file becomes whole and durable
  virtual void discard() noexcept = 0;  // stop, and delete the partial file
  virtual void check_size(const RgbView& frame) const = 0;

  const fs::path& path() const { return path_; }
  const fs::path& partial() const { return partial_; }
  std::int64_t frames = 0;
  bool ended = false;

 private:
  fs::path path_;
  fs::path partial_;
};

class VideoWriter::FfmpegSink : public VideoWriter::Sink {
 public:
  FfmpegSink(const fs::path& path, VideoFormat format, const VideoOptions& options)
      : Sink(path, partial_name(path)),
        format_(format),
        options_(options),
        coded_(coded_size(format, options)) {
    if (fs::is_directory(path)) {
      fail(ErrorCode::kIo, "{} is a folder; name a file in it", path.string());
    }
    prepare_parent_folder(path);
    std::error_code ignored;
    fs::remove(partial(), ignored);
    ChildSpec spec;
    spec.argv = encoder_arguments(partial(), format, options);
    spec.pipe_input = true;
    spec.extra_input = ffmpeg_metadata(options.metadata);
    try {
      child_ = std::make_unique<ChildProcess>(spec);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      fail(ErrorCode::kUnsupported,
           "writing {} needs the program '{}', which was not found: install it (Debian: apt-get "
           "install ffmpeg) or name a folder for PNG files, which need no encoder",
           to_string(format), options.ffmpeg);
    }
  }

  void check_size(const RgbView& frame) const override {
    require(frame.width == options_.width && frame.height == options_.height,
            "frame {} is {}x{}, but the video was opened as {}x{}", frames, frame.width,
            frame.height, options_.width, options_.height);
  }

  void write(const RgbView& frame) override {
    std::span<const std::uint8_t> pixels = frame.pixels;
    if (coded_.width != frame.width || coded_.height != frame.height) {
      pixels = padded(frame);
    }
    if (!child_->write_all(std::as_bytes(pixels), options_.stall_limit)) {
      throw_encoder_error(child_->wait_exit(options_.stall_limit));
    }
  }

  void complete() override {
    child_->close_input();
    const ChildExit exit = child_->wait_exit(kFinishLimit, [this] { return file_sign(partial()); });
    std::error_code error;
    const auto size = fs::file_size(partial(), error);
    if (!exit.ok() || error || size == 0 || says_disk_full(child_->error_text())) {
      throw_encoder_error(exit);
    }
    const std::string xmp = xmp_packet(options_.metadata);
    if (format_ == VideoFormat::kMp4 && !xmp.empty()) append_mp4_xmp(partial(), xmp);
    if (format_ == VideoFormat::kGif) {
      append_gif_metadata(partial(), to_text(embedded_json(options_.metadata)), xmp);
    }
    sync_path(partial());
  }

  void discard() noexcept override {
    child_->kill_now();
    std::error_code ignored;
    fs::remove(partial(), ignored);
  }

 private:
  std::span<const std::uint8_t> padded(const RgbView& frame) {
    const std::size_t from = static_cast<std::size_t>(frame.width) * 3;
    const std::size_t to = static_cast<std::size_t>(coded_.width) * 3;
    pad_.resize(to * static_cast<std::size_t>(coded_.height));
    for (int y = 0; y < coded_.height; ++y) {
      const auto row = static_cast<std::size_t>(std::min(y, frame.height - 1));
      const auto source = frame.pixels.subspan(row * from, from);
      const auto target =
          pad_.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(y) * to);
      std::copy(source.begin(), source.end(), target);
      if (to > from) {
        std::copy(source.end() - 3, source.end(), target + static_cast<std::ptrdiff_t>(from));
      }
    }
    return pad_;
  }

  [[noreturn]] void throw_encoder_error(const ChildExit& exit) {
    const std::string message =
        encoder_error_message(path(), format_, frames, exit, child_->error_text());
    discard();
    ended = true;
    const bool lacks_codec = child_->error_text().find("Unknown encoder") != std::string::npos;
    throw Error(lacks_codec ? ErrorCode::kUnsupported : ErrorCode::kIo, message);
  }

  VideoFormat format_;
  VideoOptions options_;
  CodedSize coded_;
  std::vector<std::uint8_t> pad_;
  std::unique_ptr<ChildProcess> child_;
};

class VideoWriter::PngSink : public VideoWriter::Sink {
 public:
  PngSink(const fs::path& path, const VideoOptions& options)
      : Sink(path, path.string() + ".partial"),
        options_(options),
        texts_(png_metadata(options.metadata)) {
    check_replaceable(path);
    prepare_parent_folder(path);
    check_replaceable(partial());
    std::error_code error;
    fs::remove_all(partial(), error);
    fs::create_directory(partial(), error);
    if (error) {
      fail(ErrorCode::kIo, "cannot create the folder {}: {}", partial().string(), error.message());
    }
  }

  void check_size(const RgbView& frame) const override {
    require(frame.width == options_.width && frame.height == options_.height,
            "frame {} is {}x{}, but the sequence was opened as {}x{}", frames, frame.width,
            frame.height, options_.width, options_.height);
  }

  void write(const RgbView& frame) override {
    write_png(partial() / fmt::format("{:06d}.png", frames), frame, texts_);
  }

  void complete() override { sync_path(partial()); }

  void discard() noexcept override {
    std::error_code ignored;
    fs::remove_all(partial(), ignored);
  }

 private:
  VideoOptions options_;
  std::vector<PngText> texts_;
};

VideoWriter::VideoWriter(const fs::path& path, const VideoOptions& options) {
  const VideoFormat format = options.format.value_or(format_for_path(path));
  check_options(options, format);
  const fs::path clean = without_trailing_slash(path);
  if (format == VideoFormat::kPngSequence) {
    sink_ = std::make_unique<PngSink>(clean, options);
  } else {
    sink_ = std::make_unique<FfmpegSink>(clean, format, options);
  }
}

VideoWriter::~VideoWriter() {
  if (sink_ && !sink_->ended) sink_->discard();
}
VideoWriter::VideoWriter(VideoWriter&&) noexcept = default;
VideoWriter& VideoWriter::operator=(VideoWriter&& other) noexcept {
  if (this != &other) {
    if (sink_ && !sink_->ended) sink_->discard();
    sink_ = std::move(other.sink_);
  }
  return *this;
}

std::int64_t VideoWriter::frames_written() const { return sink_->frames; }

void VideoWriter::write(const RgbView& frame) {
  ensure(!sink_->ended, "a frame was written after the video was ended");
  check_view(frame);
  sink_->check_size(frame);
  sink_->write(frame);
  ++sink_->frames;
}

fs::path VideoWriter::finish() {
  ensure(!sink_->ended, "the video was already ended");
  require(sink_->frames > 0, "a video needs at least one frame; none was written to {}",
          sink_->path().string());
  sink_->complete();
  std::error_code ignored;
  if (fs::is_directory(sink_->path())) fs::remove_all(sink_->path(), ignored);
  publish(sink_->partial(), sink_->path());
  sink_->ended = true;
  return sink_->path();
}

fs::path VideoWriter::abandon() {
  ensure(!sink_->ended, "the video was already ended");
  if (sink_->frames == 0) {
    sink_->discard();
    sink_->ended = true;
    return {};
  }
  sink_->complete();
  sink_->ended = true;
  return sink_->partial();
}

}  // namespace seamwright::media

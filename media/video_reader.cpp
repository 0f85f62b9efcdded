#include "media/video_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"

namespace seamwright::media {
namespace fs = std::filesystem;
namespace {

// Containers of people's own clips. Playlists and scripts (hls, concat, lavfi ...) are left out:
// they make ffmpeg open other files and addresses.
constexpr const char* kContainers =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi,mpegts,flv,apng,png_pipe,jpeg_pipe,webp_pipe,"
    "bmp_pipe,tiff_pipe";
constexpr std::chrono::milliseconds kProbeLimit{30'000};

std::vector<std::string> guarded_input(const fs::path& path, const ReaderLimits& limits) {
  return {"-protocol_whitelist",
          "file,pipe",
          "-format_whitelist",
          kContainers,
          "-max_pixels",
          std::to_string(limits.max_pixels),
          "-i",
          "file:" + path.string()};
}

void check_file(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) fail(ErrorCode::kNotFound, "there is no file {}", path.string());
  if (!fs::is_regular_file(status)) {
    fail(ErrorCode::kInvalidArgument, "{} is not a regular file", path.string());
  }
  if (fs::file_size(path, error) == 0) fail(ErrorCode::kCorrupt, "{} is empty", path.string());
}

double rational(const std::string& text) {
  const std::size_t slash = text.find('/');
  const double top = std::strtod(text.c_str(), nullptr);
  const double bottom =
      slash == std::string::npos ? 1 : std::strtod(text.c_str() + slash + 1, nullptr);
  return bottom > 0 && std::isfinite(top / bottom) ? top / bottom : 0;
}

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

bool lies_on_its_side(const nlohmann::json& stream) {
  const auto list = stream.find("side_data_list");
  if (list == stream.end() || !list->is_array()) return false;
  for (const nlohmann::json& entry : *list) {
    const double turn = std::strtod(text_of(entry, "rotation").c_str(), nullptr);
    if (std::lround(std::abs(turn)) % 180 == 90) return true;
  }
  return false;
}

void collect_tags(const nlohmann::json& object, VideoInfo& info) {
  const auto tags = object.find("tags");
  if (tags == object.end() || !tags->is_object()) return;
  for (const auto& [key, value] : tags->items()) {
    std::string lower = key;
    for (char& c : lower) c = (c >= 'A' && c <= 'Z') ? static_cast<char>(c - 'A' + 'a') : c;
    if (value.is_string()) info.tags.emplace(lower, value.get<std::string>());
  }
}

VideoInfo parse_probe(const nlohmann::json& root, const fs::path& path) {
  if (!root.is_object() || !root.contains("streams") || !root["streams"].is_array() ||
      root["streams"].empty()) {
    fail(ErrorCode::kCorrupt, "{} holds no video or picture", path.string());
  }
  const nlohmann::json& stream = root["streams"][0];
  const nlohmann::json format = root.value("format", nlohmann::json::object());
  VideoInfo info;
  info.width = stream.value("width", 0);
  info.height = stream.value("height", 0);
  if (lies_on_its_side(stream)) std::swap(info.width, info.height);
  info.fps = rational(text_of(stream, "avg_frame_rate"));
  if (info.fps == 0) info.fps = rational(text_of(stream, "r_frame_rate"));
  info.frames = std::strtoll(text_of(stream, "nb_frames").c_str(), nullptr, 10);
  info.duration_s = std::strtod(text_of(stream, "duration").c_str(), nullptr);
  if (info.duration_s == 0) {
    info.duration_s = std::strtod(text_of(format, "duration").c_str(), nullptr);
  }
  info.container = text_of(format, "format_name");
  info.codec = text_of(stream, "codec_name");
  collect_tags(format, info);
  collect_tags(stream, info);
  return info;
}

void check_info(const VideoInfo& info, const fs::path& path, const ReaderLimits& limits) {
  if (info.width <= 0 || info.height <= 0) {
    fail(ErrorCode::kCorrupt, "{} has no usable picture size", path.string());
  }
  const std::int64_t pixels = static_cast<std::int64_t>(info.width) * info.height;
  if (info.width > kMaxSide || info.height > kMaxSide || pixels > limits.max_pixels) {
    fail(ErrorCode::kResource, "{} is {}x{}: at most {} pixels a frame and {} a side are accepted",
         path.string(), info.width, info.height, limits.max_pixels, kMaxSide);
  }
  if (info.duration_s > limits.max_duration_s) {
    fail(ErrorCode::kResource, "{} lasts {:.0f} s: at most {:.0f} s are accepted", path.string(),
         info.duration_s, limits.max_duration_s);
  }
  if (info.frames > limits.max_frames) {
    fail(ErrorCode::kResource, "{} has {} frames: at most {} are accepted", path.string(),
         info.frames, limits.max_frames);
  }
}

// Filters that leave the frames the options choose, before any is scaled.
std::string chosen(const ReaderOptions& options) {
  std::string filters;
  if (options.fps > 0) filters += fmt::format("fps={:.6f},", options.fps);
  if (options.skip > 0 || options.step > 1) {
    filters += fmt::format("select='gte(n,{0})*not(mod(n-{0},{1}))',", options.skip, options.step);
  }
  return filters;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

VideoInfo probe_video(const fs::path& path, const ReaderLimits& limits,
                      const std::string& ffprobe) {
  check_file(path);
  ChildSpec spec;
  spec.argv = {
      ffprobe,         "-v",           "error", "-export_xmp", "1", "-select_streams", "v:0",
      "-show_streams", "-show_format", "-of",   "json"};
  for (std::string& arg : guarded_input(path, limits)) spec.argv.push_back(std::move(arg));
  spec.limits = {.memory_bytes = limits.max_memory_bytes, .cpu_seconds = 30};
  ChildResult result;
  try {
    result = run_child(spec, kProbeLimit);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
    fail(ErrorCode::kUnsupported,
         "reading {} needs the program '{}', which was not found (Debian: apt-get install ffmpeg)",
         path.string(), ffprobe);
  }
  if (result.errors.find("max pixel count") != std::string::npos) {
    fail(ErrorCode::kResource, "{} has pictures of more than {} pixels", path.string(),
         limits.max_pixels);
  }
  if (!result.exit.ok()) {
    fail(ErrorCode::kCorrupt, "{} cannot be read as a video or picture: {}", path.string(),
         first_line(result.errors));
  }
  VideoInfo info = parse_probe(nlohmann::json::parse(result.output, nullptr, false), path);
  check_info(info, path, limits);
  return info;
}

std::int64_t chosen_frames(const VideoInfo& info, const ReaderOptions& options) {
  const std::int64_t all = options.fps > 0 && info.duration_s > 0
                               ? std::llround(info.duration_s * options.fps)
                               : (options.fps > 0 ? 0 : info.frames);
  if (all == 0) return 0;
  return all <= options.skip ? 0 : (all - options.skip - 1) / options.step + 1;
}

VideoReader::VideoReader(const fs::path& path, const ReaderOptions& options)
    : path_(path), options_(options), info_(probe_video(path, options.limits, options.ffprobe)) {
  width_ = options.width > 0 ? options.width : info_.width;
  height_ = options.height > 0 ? options.height : info_.height;
  require(width_ <= kMaxSide && height_ <= kMaxSide &&
              static_cast<std::int64_t>(width_) * height_ <= options.limits.max_pixels,
          "a video cannot be scaled to {}x{}: at most {} pixels a frame", width_, height_,
          options.limits.max_pixels);
  require(std::isfinite(options.fps) && options.fps >= 0 && options.skip >= 0 && options.step >= 1,
          "a video is read at a rate of 0 or more, after 0 or more frames, in steps of 1 or more");
  ChildSpec spec;
  // One thread: each decoder thread holds frames of its own.
  spec.argv = {options.ffmpeg, "-hide_banner", "-nostdin", "-loglevel",
               "error",        "-xerror",      "-threads", "1"};
  for (std::string& arg : guarded_input(path, options.limits)) {
    spec.argv.push_back(std::move(arg));
  }
  const std::string filters =
      chosen(options) +
      fmt::format("scale={}:{}:flags=bicubic+accurate_rnd+full_chroma_int", width_, height_);
  for (const char* arg : {"-map", "0:v:0", "-vf", filters.c_str(), "-fps_mode", "passthrough", "-f",
                          "rawvideo", "-pix_fmt", "rgb24", "pipe:1"}) {
    spec.argv.emplace_back(arg);
  }
  spec.pipe_output = true;
  spec.limits = {.memory_bytes = options.limits.max_memory_bytes,
                 .cpu_seconds = options.limits.max_cpu_seconds};
  child_ = std::make_unique<ChildProcess>(spec);
}

bool VideoReader::next(RgbImage& frame) {
  if (ended_) return false;
  if (frames_ >= options_.limits.max_frames) {
    child_->kill_now();
    ended_ = true;
    fail(ErrorCode::kResource, "{} has more than {} frames", path_.string(), frames_);
  }
  if (frame.width != width_ || frame.height != height_) frame = RgbImage(width_, height_);
  std::span<std::byte> left = std::as_writable_bytes(std::span(frame.pixels));
  while (!left.empty()) {
    const std::size_t n = child_->read_some(left, options_.limits.stall_limit);
    if (n == 0) break;
    left = left.subspan(n);
  }
  if (left.empty()) {
    ++frames_;
    return true;
  }
  ended_ = true;
  const bool cut = left.size() != frame.pixels.size();
  const ChildExit exit = child_->wait_exit(options_.limits.stall_limit);
  if (!exit.ok() || cut || frames_ == 0) {
    fail(ErrorCode::kCorrupt, "{} is damaged after frame {}: {}", path_.string(), frames_,
         exit.signal != 0 ? fmt::format("the decoder was killed by signal {}", exit.signal)
                          : first_line(child_->error_text()));
  }
  return false;
}

}  // namespace seamwright::media

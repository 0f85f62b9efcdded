#include "media/segment_writer.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <system_error>

#include "base/error.h"
#include "media/child_process.h"
#include "media/encoder_arguments.h"
#include "media/files.h"
#include "media/metadata.h"
#include "media/mp4_boxes.h"

namespace seamwright::media {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kSegmentBytesMax = std::int64_t{4} << 30;
constexpr std::chrono::milliseconds kJoinLimit{600'000};  // without a change of the file

// What a segment says of itself must not differ between the attempts of a job, nor tell whoever
// watches the stream the request: that is the joined file's.
VideoOptions segment_options(VideoOptions options) {
  options.format = VideoFormat::kMp4;
  options.fragmented = true;
  options.segment = true;
  options.metadata.request = nlohmann::json::object();
  options.metadata.models = nlohmann::json::array();
  return options;
}

bool is_init(std::string_view type) { return type == "ftyp" || type == "moov"; }
bool is_media(std::string_view type) { return type == "moof" || type == "mdat"; }

}  // namespace

// As a fraction with a small denominator where there is one.
TrackTime track_time(double fps) {
  TrackTime time;
  time.rate_denominator = 0;
  for (const std::int64_t denominator : {1, 2, 3, 4, 5, 8, 10, 100, 1000}) {
    const double numerator = fps * static_cast<double>(denominator);
    if (numerator < 0.5 || std::abs(numerator - std::round(numerator)) > 1e-6) continue;
    time.rate_numerator = static_cast<std::int64_t>(std::round(numerator));
    time.rate_denominator = denominator;
    break;
  }
  if (time.rate_denominator == 0) {
    time.rate_numerator = static_cast<std::int64_t>(std::round(fps * 100'000));
    time.rate_denominator = 100'000;
  }
  const auto common = std::gcd(time.rate_numerator, time.rate_denominator);
  time.rate_numerator /= common;
  time.rate_denominator /= common;
  const std::int64_t fine = (10'000 + time.rate_numerator - 1) / time.rate_numerator;
  time.ticks_per_second = time.rate_numerator * fine;
  time.ticks_per_frame = time.rate_denominator * fine;
  return time;
}

SegmentWriter::SegmentWriter(const fs::path& path, const VideoOptions& options,
                             std::int64_t first_frame)
    : options_(segment_options(options)), first_frame_(first_frame), writer_(path, options_) {}

fs::path SegmentWriter::finish() {
  const auto path = writer_.finish();
  auto bytes = read_file(path, kSegmentBytesMax);
  const auto time = track_time(options_.fps);
  // Every fragment holds a frame at least, so frame numbers never number two fragments alike.
  move_fragments(bytes, first_frame_ * time.ticks_per_frame,
                 static_cast<std::uint32_t>(first_frame_ + 1));
  write_file_atomically(path, bytes);
  return path;
}

std::size_t init_size(std::string_view segment) {
  std::size_t end = 0;
  bool described = false;
  for (const auto& box : mp4_boxes(segment)) {
    if (!is_init(box.type)) break;
    described |= box.type == "moov";
    end = box.end;
  }
  if (!described) fail(ErrorCode::kCorrupt, "it does not begin like a segment of a video");
  return end;
}

std::string media_part(std::string_view segment) {
  std::string part;
  for (const auto& box : mp4_boxes(segment)) {
    if (is_media(box.type)) part += segment.substr(box.begin, box.end - box.begin);
  }
  return part;
}

fs::path join_segments(std::span<const fs::path> segments, const fs::path& out,
                       const VideoOptions& options, const std::atomic<bool>* stop) {
  require(!segments.empty(), "a video needs at least one segment");
  fs::path partial = out.parent_path() / out.stem();
  partial += ".partial.mp4";
  prepare_parent_folder(out);
  ChildSpec spec;
  spec.argv = joiner_arguments(partial, segment_options(options));
  spec.pipe_input = true;
  spec.extra_input = ffmpeg_metadata(options.metadata);
  spec.stop = stop;
  // Once published, there is nothing of that name any more.
  std::error_code ignored;
  const std::shared_ptr<void> clean(nullptr, [&](void*) { fs::remove(partial, ignored); });
  ChildProcess child(spec);
  std::string init;
  bool taken = true;
  for (const auto& path : segments) {
    const auto bytes = read_file(path, kSegmentBytesMax);
    const auto own_init = bytes.substr(0, init_size(bytes));
    if (init.empty()) {
      init = own_init;
      taken = child.write_all(std::as_bytes(std::span(init)), options.stall_limit);
    }
    if (init != own_init) {
      fail(ErrorCode::kCorrupt,
           "{} was encoded otherwise than the segments before it (another ffmpeg?), so they cannot "
           "be joined: give an empty folder to begin again",
           path.string());
    }
    const auto part = media_part(bytes);
    taken = taken && child.write_all(std::as_bytes(std::span(part)), options.stall_limit);
    if (!taken) break;
  }
  child.close_input();
  const auto exit = child.wait_exit(kJoinLimit, [&partial] { return file_sign(partial); });
  if (!taken || !exit.ok() || says_disk_full(child.error_text())) {
    throw Error(ErrorCode::kIo,
                encoder_error_message(out, VideoFormat::kMp4, 0, exit, child.error_text()));
  }
  if (const auto xmp = xmp_packet(options.metadata); !xmp.empty()) append_mp4_xmp(partial, xmp);
  sync_path(partial);
  publish(partial, out);
  return out;
}

}  // namespace seamwright::media

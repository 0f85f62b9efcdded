#include "media/encoder_arguments.h"

#include <fmt/format.h>

#include <csignal>
#include <initializer_list>

#include "media/segment_writer.h"

namespace seamwright::media {
namespace {

using Arguments = std::vector<std::string>;

void add(Arguments& args, std::initializer_list<const char*> more) {
  args.insert(args.end(), more.begin(), more.end());
}

// HD video's matrix, written into the file: untagged files are guessed at, and look paler in some
// players than in others.
void add_colour(Arguments& args, const char* pixel_format) {
  add(args, {"-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int",
             "-pix_fmt", pixel_format, "-colorspace", "bt709", "-color_primaries", "bt709",
             "-color_trc", "bt709", "-color_range", "tv"});
}

void add_timescale(Arguments& args, const VideoOptions& options) {
  args.push_back("-video_track_timescale");
  args.push_back(std::to_string(track_time(options.fps).ticks_per_second));
}

// Always said: an encoder left alone takes as many as there are,
// and x264's output follows from the number.
void add_threads(Arguments& args, const VideoOptions& options) {
  args.push_back("-threads");
  args.push_back(std::to_string(options.threads));
}

void add_mp4(Arguments& args, const VideoOptions& options) {
  add(args, {"-map", "1:v"});
  add_colour(args, "yuv420p");
  add(args, {"-c:v", "libx264", "-preset", "fast"});
  add_threads(args, options);
  // Segments are joined by time; without reordered frames a frame's time is its number.
  add(args, {"-bf", options.segment ? "0" : "2"});
  args.push_back("-crf");
  args.push_back(std::to_string(options.quality));
  args.push_back("-x264-params");
  // A short look ahead: what x264 holds back it encodes only once the last frame has come, when
  // nothing else is left to do. Thirty frames made files no smaller.
  args.push_back(fmt::format(
      "keyint={0}:min-keyint={0}:scenecut=0:open-gop=0:rc-lookahead=10:sync-lookahead=0",
      kGroupFrames));
  args.push_back("-movflags");
  args.push_back(options.segment      ? "frag_keyframe+empty_moov+default_base_moof+skip_trailer"
                 : options.fragmented ? "frag_keyframe+empty_moov+default_base_moof"
                                      : "+faststart");
  if (options.segment) add_timescale(args, options);
  add(args, {"-f", "mp4"});
}

void add_webm(Arguments& args, const VideoOptions& options) {
  add(args, {"-map", "1:v"});
  add_colour(args, "yuv420p");
  add(args, {"-c:v", "libvpx-vp9", "-deadline", "good", "-cpu-used", "5", "-row-mt", "1"});
  add_threads(args, options);
  add(args, {"-b:v", "0", "-crf"});
  args.push_back(std::to_string(options.quality + 10));  // VP9's scale runs to 63
  args.push_back("-g");
  args.push_back(std::to_string(kGroupFrames));
  args.push_back("-keyint_min");
  args.push_back(std::to_string(kGroupFrames));
  add(args, {"-f", "webm"});
}

std::string frame_rate(const VideoOptions& options) {
  if (!options.segment) return fmt::format("{:.6g}", options.fps);
  const auto time = track_time(options.fps);
  return fmt::format("{}/{}", time.rate_numerator, time.rate_denominator);
}

// A palette per frame: one palette for all would hold every frame until the last.
void add_gif(Arguments& args) {
  add(args, {"-filter_complex",
             "[1:v]split[a][b];[a]palettegen=stats_mode=single:reserve_transparent=0[p];"
             "[b][p]paletteuse=new=1:dither=bayer:bayer_scale=4",
             "-loop", "0", "-f", "gif"});
}

}  // namespace

CodedSize coded_size(VideoFormat format, const VideoOptions& options) {
  const bool halves_chroma = format == VideoFormat::kMp4 || format == VideoFormat::kWebm;
  const int odd = halves_chroma ? 1 : 0;
  return {options.width + (options.width & odd), options.height + (options.height & odd)};
}

std::vector<std::string> encoder_arguments(const std::filesystem::path& out, VideoFormat format,
                                           const VideoOptions& options) {
  const CodedSize size = coded_size(format, options);
  Arguments args{options.ffmpeg};
  // -xerror: without it a failed trailer (disk full) still ends with status 0.
  add(args, {"-hide_banner", "-nostdin", "-y", "-loglevel", "error", "-xerror"});
  add(args, {"-f", "ffmetadata", "-i", "pipe:3", "-f", "rawvideo", "-pix_fmt", "rgb24"});
  args.push_back("-video_size");
  args.push_back(fmt::format("{}x{}", size.width, size.height));
  args.push_back("-framerate");
  args.push_back(frame_rate(options));
  add(args, {"-i", "pipe:0", "-map_metadata", "0"});
  switch (format) {
    case VideoFormat::kMp4:
      add_mp4(args, options);
      break;
    case VideoFormat::kWebm:
      add_webm(args, options);
      break;
    case VideoFormat::kGif:
      add_gif(args);
      break;
    case VideoFormat::kPngSequence:
      break;
  }
  // "file:" keeps a name with a colon or a leading dash from being read as a protocol or option.
  args.push_back("file:" + out.string());
  return args;
}

std::vector<std::string> joiner_arguments(const std::filesystem::path& out,
                                          const VideoOptions& options) {
  Arguments args{options.ffmpeg};
  add(args, {"-hide_banner",  "-nostdin", "-y",     "-loglevel", "error", "-xerror", "-f",
             "ffmetadata",    "-i",       "pipe:3", "-f",        "mp4",   "-i",      "pipe:0",
             "-map_metadata", "0",        "-map",   "1:v",       "-c:v",  "copy",    "-movflags",
             "+faststart"});
  add_timescale(args, options);
  add(args, {"-f", "mp4"});
  args.push_back("file:" + out.string());
  return args;
}

bool says_disk_full(const std::string& error_text) {
  return error_text.find("No space left on device") != std::string::npos ||
         error_text.find("Disk quota exceeded") != std::string::npos ||
         error_text.find("File too large") != std::string::npos;
}

std::string encoder_error_message(const std::filesystem::path& path, VideoFormat format,
                                  std::int64_t frames, const ChildExit& exit,
                                  const std::string& error_text) {
  const std::string where = fmt::format("writing {} stopped at frame {}", path.string(), frames);
  if (says_disk_full(error_text) || exit.signal == SIGXFSZ) {
    return fmt::format(
        "{}: the disk is full (or a file size limit was reached). Free some space "
        "or choose another --out",
        where);
  }
  if (error_text.find("Unknown encoder") != std::string::npos) {
    return fmt::format(
        "this ffmpeg cannot encode {}: install Debian's ffmpeg package (it has "
        "libx264 and libvpx), or choose another format. {}",
        to_string(format), error_text);
  }
  const std::string how = exit.signal != 0 ? fmt::format("was killed by signal {}", exit.signal)
                                           : fmt::format("ended with status {}", exit.code);
  return fmt::format("{}: ffmpeg {}. {}", where, how, error_text);
}

}  // namespace seamwright::media

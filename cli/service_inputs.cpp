#include "cli/service_inputs.h"

#include <set>

#include "base/error.h"
#include "media/video_reader.h"
#include "worker/given_frames.h"

namespace seamwright::cli {
namespace {

// Of decoders that look at a stranger's file while a client waits.
media::ReaderLimits limits() {
  media::ReaderLimits limits;
  limits.max_memory_bytes = 2LL << 30;
  limits.max_cpu_seconds = 20;
  limits.stall_limit = std::chrono::milliseconds(20'000);
  return limits;
}

bool is_still(const media::VideoInfo& info) {
  return info.container.find("_pipe") != std::string::npos;
}

// The first frames must come out of it; more is seen when the job runs.
void decode_start(const std::string& file, bool picture) {
  const auto info = media::probe_video(file, limits());
  require(picture || !is_still(info), "it is a picture, but must be a video");
  require(!picture || is_still(info) || info.container == "gif" || info.container == "apng",
          "it is a video ({}), but must be a picture", info.container);
  media::ReaderOptions options;
  options.width = options.height = 64;  // whether it decodes is the question, not how it looks
  options.limits = limits();
  media::VideoReader reader(file, options);
  media::RgbImage frame;
  for (int i = 0; i < (picture ? 1 : 2); ++i) {
    require(reader.next(frame), "it has no frames, or only one");
  }
}

// What a reader says of a file is said of the field that named it.
template <class Look>
void look_at(const std::string& field, Look&& look) {
  try {
    look();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kUnsupported) throw;
    fail(ErrorCode::kInvalidArgument, "{} cannot be used: {}", field, error.what());
  }
}

void check_file(const std::string& field, const std::string& file, bool picture) {
  if (!file.empty()) look_at(field, [&] { decode_start(file, picture); });
}

}  // namespace

void check_inputs(JobRequest& request, bool as_long_as_input) {
  check_file("init_image", request.init_image, true);
  std::set<std::string> looked_at;  // equal pictures are one file
  for (const auto& keyframe : request.keyframes) {
    if (looked_at.insert(keyframe.file).second) check_file("keyframes", keyframe.file, true);
  }
  check_file("input_video", request.input_video, false);
  check_file("extend", request.extend, false);
  if (as_long_as_input) {
    look_at("input_video", [&] { request.frames = worker::frames_of_input(request); });
  }
  validate(request);
}

void check_lengths(const JobRequest& request) {
  if (has_known_frames(request)) worker::known_frames(request);
  if (!request.input_video.empty()) {
    look_at("input_video", [&] { worker::check_given_files(request); });
  }
  if (request.extend.empty()) return;
  look_at("extend", [&] {
    const auto frames = media::probe_video(request.extend, limits()).frames;
    require(frames == 0 || frames >= request.overlap,
            "it has {} frames, but {} are handed over (the overlap)", frames, request.overlap);
  });
}

}  // namespace seamwright::cli

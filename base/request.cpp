#include "base/request.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/prompt_schedule.h"
#include "base/quoted.h"

namespace seamwright {
namespace {

constexpr std::size_t kMaxPromptBytes = 32'000;
constexpr std::size_t kMaxLoras = 64;

std::string field_of(const JobRequest& r, std::string_view field) {
  if (field == "window_schedule") return r.window_schedule;
  if (field == "fuse") return r.fuse;
  if (field == "coherence") return r.coherence;
  if (field == "noise") return r.noise;
  if (field == "motion_norm") return r.motion_norm;
  if (field == "order") return r.order;
  if (field == "device") return r.device;
  if (field == "precision") return r.precision;
  if (field == "sampler") return r.sampler;
  fail(ErrorCode::kInternal, "'{}' is not a choice", field);
}

void check_range(std::string_view field, std::int64_t value, std::int64_t low, std::int64_t high,
                 std::string_view hint = "") {
  require(value >= low && value <= high, "{} is {}, but must be between {} and {}{}{}", field,
          value, low, high, hint.empty() ? "" : ": ", hint);
}

void check_utf8(std::string_view field, std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text.substr(at));
    require(length > 0, "{} is no UTF-8 text from its byte {} on; write it in UTF-8: {}", field, at,
            in_quotes(text));
    at += length;
  }
}

// Each is a file to look at, to send and to keep.
constexpr std::size_t kKeyframesMax = 256;

void check_missing(const JobRequest& r) {
  const auto ranges = parse_frame_ranges(r.missing);
  if (ranges.empty()) return;
  require(!r.input_video.empty(), "missing frames need the video they are missing in: input_video");
  require(ranges.back().last < r.frames, "missing frame {} is not among the {} frames",
          ranges.back().last, r.frames);
  require(ranges.size() > 1 || ranges[0].first > 0 || ranges[0].last + 1 < r.frames,
          "every frame is missing: leave input_video out, or give some frames");
}

// What is given must be one thing that can be done.
void check_given(const JobRequest& r) {
  check_missing(r);
  check_range("input_every", r.input_every, 1, 64);
  check_range("input_skip", r.input_skip, 0, 10'000'000);
  check_range("input_step", r.input_step, 1, 1000);
  require(std::isfinite(r.input_fps) &&
              (r.input_fps == 0 || (r.input_fps >= 0.1 && r.input_fps <= 240)),
          "input_fps is {}, but must be 0 (the file's own) or 0.1 to 240", r.input_fps);
  require(std::isfinite(r.strength) && r.strength > 0 && r.strength <= 1,
          "strength is {}, but must be above 0 and at most 1", r.strength);
  const bool pictures = !r.init_image.empty() || !r.keyframes.empty();
  const int sources =
      (pictures ? 1 : 0) + (r.input_video.empty() ? 0 : 1) + (r.extend.empty() ? 0 : 1);
  require(sources <= 1,
          "only one of pictures (init_image, keyframes), input_video and extend can be "
          "given at a time");
  require(!r.input_video.empty() || (r.strength == 1 && r.input_every == 1 && r.input_fps == 0 &&
                                     r.input_skip == 0 && r.input_step == 1),
          "strength, input_every, input_fps, input_skip and input_step need input_video");
  if (!r.input_video.empty()) {
    const int ways =
        (r.strength < 1 ? 1 : 0) + (r.missing.empty() ? 0 : 1) + (r.input_every > 1 ? 1 : 0);
    require(ways == 1,
            "input_video needs exactly one of: strength below 1 (video to video), missing (fill "
            "frames), input_every above 1 (more frames); {} are given",
            ways);
  }
  require(r.keyframes.size() <= kKeyframesMax, "{} keyframes are given, but at most {} are allowed",
          r.keyframes.size(), kKeyframesMax);
  std::vector<std::int64_t> frames;
  if (!r.init_image.empty()) frames.push_back(0);
  for (const auto& keyframe : r.keyframes) {
    require(!keyframe.file.empty() && keyframe.frame >= 0 && keyframe.frame < r.frames,
            "keyframe {} is not among the {} frames, or names no file", keyframe.frame, r.frames);
    require(std::find(frames.begin(), frames.end(), keyframe.frame) == frames.end(),
            "frame {} is given twice", keyframe.frame);
    frames.push_back(keyframe.frame);
  }
  require(std::cmp_less(frames.size(), r.frames),
          "frames is {}, but so many are given: nothing is left to make; ask for more", r.frames);
}

}  // namespace

const std::vector<Choice>& job_request_choices() {
  static const std::vector<Choice> choices = {
      {"sampler", {"", "ddim", "euler", "euler_a", "dpm++_2m", "dpm++_2m_karras", "lcm"}},
      {"window_schedule", {"static", "uniform", "looped"}},
      {"fuse", {"flat", "pyramid", "overlap-linear"}},
      {"coherence", {"local", "causal"}},
      {"noise", {"independent", "freenoise"}},
      {"motion_norm", {"across-frames", "per-frame"}},
      {"order", {"auto", "throughput", "streaming"}},
      {"device", {"auto", "cpu", "cuda", "reference"}},
      {"precision", {"fp32", "bf16", "fp16"}},
  };
  return choices;
}

void validate(const JobRequest& r) {
  check_range("frames", r.frames, 1, kMaxFrames);
  require(std::isfinite(r.fps) && r.fps >= 0.1 && r.fps <= 240,
          "fps is {}, but must be between 0.1 and 240", r.fps);
  if (r.width != 0 || r.height != 0) {
    check_range("width", r.width, 16, 8192, "give size as WIDTHxHEIGHT in pixels");
    check_range("height", r.height, 16, 8192, "give size as WIDTHxHEIGHT in pixels");
  }
  check_range("steps", r.steps, 0, 1000, "0 is the model's own default");
  require(std::isfinite(r.guidance) && r.guidance <= 100,
          "guidance is {}, but must be at most 100 (1 or less means no guidance)", r.guidance);
  check_range("window", r.window, 0, 1024, "0 is the model's own default");
  // The model may suggest a window; who resolves the request checks the overlap against that.
  check_range("overlap", r.overlap, -1, r.window > 0 ? r.window - 1 : 1023,
              "neighbouring windows must advance by at least one frame; -1 is the default");
  check_range("context_stride", r.context_stride, 1, 16);
  check_range("lag", r.lag, 1, 1000);
  check_range("resample", r.resample, 0, 16, "0 is the default for the mode and the model");
  require(r.prompt.size() <= kMaxPromptBytes, "prompt has {} bytes, but at most {} are allowed",
          r.prompt.size(), kMaxPromptBytes);
  require(r.negative_prompt.size() <= kMaxPromptBytes,
          "negative_prompt has {} bytes, but at most {} are allowed", r.negative_prompt.size(),
          kMaxPromptBytes);
  check_utf8("prompt", r.prompt);
  check_utf8("negative_prompt", r.negative_prompt);
  parse_prompt_schedule(r.prompt, r.frames);  // says what is wrong with keyframes
  require(r.lora.size() <= kMaxLoras, "{} LoRA files are too many: at most {} are allowed",
          r.lora.size(), kMaxLoras);
  for (const auto& lora : r.lora) {
    require(!lora.file.empty(), "a lora needs a file: --lora FILE:SCALE");
    require(std::isfinite(lora.scale) && std::abs(lora.scale) <= 100,
            "the scale of lora {} is {}, but must be between -100 and 100", lora.file, lora.scale);
  }
  check_given(r);
  for (const auto& choice : job_request_choices()) {
    const std::string value = field_of(r, choice.field);
    if (std::ranges::find(choice.allowed, value) != choice.allowed.end()) continue;
    // Left empty, some have a default; that is no name to offer.
    std::vector<std::string> names(choice.allowed.begin(), choice.allowed.end());
    std::erase(names, "");
    fail(ErrorCode::kInvalidArgument, "{} is {}, but must be one of: {}", choice.field,
         in_quotes(value), fmt::join(names, " "));
  }
  require(r.coherence != "causal" || r.window_schedule == "static",
          "coherence causal needs window_schedule static, not {}: each window follows one "
          "predecessor",
          r.window_schedule);
  require(r.order != "streaming" || r.window_schedule == "static",
          "order streaming needs window_schedule static, not {}: the early frames of other "
          "schedules depend on late ones",
          r.window_schedule);
}

bool is_video_to_video(const JobRequest& r) { return !r.input_video.empty() && r.strength < 1; }

bool has_known_frames(const JobRequest& r) {
  return !r.init_image.empty() || !r.keyframes.empty() || !r.extend.empty() ||
         (!r.input_video.empty() && !is_video_to_video(r));
}

std::vector<std::string*> given_files(JobRequest& r) {
  std::vector<std::string*> files;
  for (auto* file : {&r.init_image, &r.input_video, &r.extend}) {
    if (!file->empty()) files.push_back(file);
  }
  for (auto& keyframe : r.keyframes) files.push_back(&keyframe.file);
  return files;
}

LoraRequest parse_lora(std::string_view text) {
  const auto colon = text.rfind(':');
  double scale = 1;
  if (colon != std::string_view::npos) {
    const std::string_view number = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), scale);
    if (error == std::errc() && end == number.data() + number.size() && !number.empty()) {
      return {std::string(text.substr(0, colon)), scale};
    }
  }
  return {std::string(text), 1};
}

void parse_size(std::string_view text, int& width, int& height) {
  const auto cross = text.find_first_of("xX");
  const auto number = [](std::string_view part, int& out) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), out);
    return error == std::errc() && end == part.data() + part.size() && !part.empty();
  };
  int w = 0, h = 0;
  require(cross != std::string_view::npos && number(text.substr(0, cross), w) &&
              number(text.substr(cross + 1), h) && w > 0 && h > 0,
          "size is '{}', but must be WIDTHxHEIGHT in pixels, such as 512x384", text);
  width = w;
  height = h;
}

}  // namespace seamwright

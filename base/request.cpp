#include "base/request.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/prompt_schedule.h"

namespace seamwright {
namespace {

using Json = nlohmann::json;

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

LoraRequest lora_from_json(const Json& value, const std::string& key) {
  if (value.is_string()) return parse_lora(value.get<std::string>());
  LoraRequest lora;
  require(value.is_object() && value.contains("file"),
          "an entry of {} must be \"FILE:SCALE\", or an object with file and scale", key);
  for (const auto& [name, field] : value.items()) {
    if (name == "file") {
      require(field.is_string(), "file in {} must be a string", key);
      lora.file = field.get<std::string>();
    } else {
      require(name == "scale" && field.is_number(), "an entry of {} has file and a number scale, not "
              "'{}'", key, name);
      lora.scale = field.get<double>();
    }
  }
  return lora;
}

KeyframeRequest keyframe_from_json(const Json& value, const std::string& key) {
  if (value.is_string()) return parse_keyframe(value.get<std::string>());
  const bool good = value.is_object() && value.size() == 2 && value.contains("file") &&
                    value.contains("frame") && value["file"].is_string() &&
                    value["frame"].is_number_integer() && value["frame"] >= 0 &&
                    value["frame"] <= kMaxFrames;
  require(good, "an entry of {} must be \"N=FILE\", or an object with frame and file", key);
  return {value["frame"].get<std::int64_t>(), value["file"].get<std::string>()};
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
  require(std::isfinite(r.input_fps) && (r.input_fps == 0 || (r.input_fps >= 0.1 && r.input_fps <= 240)),
          "input_fps is {}, but must be 0 (the file's own) or 0.1 to 240", r.input_fps);
  require(std::isfinite(r.strength) && r.strength > 0 && r.strength <= 1,
          "strength is {}, but must be above 0 and at most 1", r.strength);
  const bool pictures = !r.init_image.empty() || !r.keyframes.empty();
  const int sources = (pictures ? 1 : 0) + (r.input_video.empty() ? 0 : 1) +
                      (r.extend.empty() ? 0 : 1);
  require(sources <= 1, "only one of pictures (init_image, keyframes), input_video and extend can be "
          "given at a time");
  require(!r.input_video.empty() || (r.strength == 1 && r.input_every == 1 && r.input_fps == 0 &&
                                     r.input_skip == 0 && r.input_step == 1),
          "strength, input_every, input_fps, input_skip and input_step need input_video");
  if (!r.input_video.empty()) {
    const int ways =
        (r.strength < 1 ? 1 : 0) + (r.missing.empty() ? 0 : 1) + (r.input_every > 1 ? 1 : 0);
    require(ways == 1,
            "input_video needs exactly one of: strength below 1 (video to video), missing (fill "
            "frames), input_every above 1 (more frames); {} are given", ways);
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
          "frames is {}, but so many are given: nothing is left to make; ask for more",
          r.frames);
}

// Sets one member from one JSON value, with the type named in the error.
class Reader {
 public:
  explicit Reader(JobRequest& r) : r_(r) {}

  bool set(const std::string& key, const Json& value) {
    const auto found = setters().find(key);
    if (found == setters().end()) return false;
    found->second(r_, key, value);
    return true;
  }
  static std::vector<std::string> keys() {
    std::vector<std::string> names;
    for (const auto& [name, unused] : setters()) names.push_back(name);
    return names;
  }

 private:
  using Setter = void (*)(JobRequest&, const std::string&, const Json&);

  template <auto Member>
  static void text(JobRequest& r, const std::string& key, const Json& value) {
    require(value.is_string(), "{} must be a string", key);
    r.*Member = value.get<std::string>();
  }
  template <auto Member>
  static void integer(JobRequest& r, const std::string& key, const Json& value) {
    using T = std::remove_reference_t<decltype(r.*Member)>;
    require(value.is_number_integer(), "{} must be a whole number", key);
    if constexpr (std::is_unsigned_v<T>) {
      require(value.is_number_unsigned(), "{} must not be negative", key);
      r.*Member = value.get<T>();
    } else {
      require(!value.is_number_unsigned() ||
                  value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX),
              "{} is too large", key);
      const auto wide = value.get<std::int64_t>();
      require(wide >= std::numeric_limits<T>::min() && wide <= std::numeric_limits<T>::max(),
              "{} is out of range", key);
      r.*Member = static_cast<T>(wide);
    }
  }
  template <auto Member>
  static void number(JobRequest& r, const std::string& key, const Json& value) {
    require(value.is_number(), "{} must be a number", key);
    r.*Member = value.get<double>();
  }

  static const std::map<std::string, Setter>& setters() {
    using R = JobRequest;
    static const std::map<std::string, Setter> table = {
        {"model", text<&R::model>},
        {"motion_adapter", text<&R::motion_adapter>},
        {"vae", text<&R::vae>},
        {"tokenizer", text<&R::tokenizer>},
        {"lora",
         [](R& r, const std::string& key, const Json& value) {
           require(value.is_array(), "{} must be a list of \"FILE:SCALE\" or of objects with file "
                   "and scale", key);
           r.lora.clear();
           for (const auto& one : value) r.lora.push_back(lora_from_json(one, key));
         }},
        {"prompt", text<&R::prompt>},
        {"negative_prompt", text<&R::negative_prompt>},
        {"init_image", text<&R::init_image>},
        {"keyframes",
         [](R& r, const std::string& key, const Json& value) {
           require(value.is_array(), "{} must be a list of \"N=FILE\" or of objects with frame and "
                   "file", key);
           r.keyframes.clear();
           for (const auto& one : value) r.keyframes.push_back(keyframe_from_json(one, key));
         }},
        {"input_video", text<&R::input_video>},
        {"input_fps", number<&R::input_fps>},
        {"input_skip", integer<&R::input_skip>},
        {"input_step", integer<&R::input_step>},
        {"missing", text<&R::missing>},
        {"input_every", integer<&R::input_every>},
        {"strength", number<&R::strength>},
        {"extend", text<&R::extend>},
        {"frames", integer<&R::frames>},
        {"fps", number<&R::fps>},
        {"width", integer<&R::width>},
        {"height", integer<&R::height>},
        {"size",
         [](R& r, const std::string& key, const Json& value) {
           require(value.is_string(), "{} must be a string like \"512x384\"", key);
           parse_size(value.get<std::string>(), r.width, r.height);
         }},
        {"steps", integer<&R::steps>},
        {"sampler", text<&R::sampler>},
        {"guidance", number<&R::guidance>},
        {"seed", integer<&R::seed>},
        {"window", integer<&R::window>},
        {"context_length", integer<&R::window>},
        {"overlap", integer<&R::overlap>},
        {"context_overlap", integer<&R::overlap>},
        {"window_schedule", text<&R::window_schedule>},
        {"context_stride", integer<&R::context_stride>},
        {"fuse", text<&R::fuse>},
        {"coherence", text<&R::coherence>},
        {"lag", integer<&R::lag>},
        {"resample", integer<&R::resample>},
        {"noise", text<&R::noise>},
        {"motion_norm", text<&R::motion_norm>},
        {"order", text<&R::order>},
        {"device", text<&R::device>},
        {"precision", text<&R::precision>},
    };
    return table;
  }

  JobRequest& r_;
};

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
  check_range("window", r.window, 1, 1024);
  check_range("overlap", r.overlap, -1, r.window - 1,
              "neighbouring windows must advance by at least one frame");
  check_range("context_stride", r.context_stride, 1, 16);
  check_range("lag", r.lag, 1, 1000);
  check_range("resample", r.resample, 1, 16);
  require(r.prompt.size() <= kMaxPromptBytes, "prompt has {} bytes, but at most {} are allowed",
          r.prompt.size(), kMaxPromptBytes);
  require(r.negative_prompt.size() <= kMaxPromptBytes,
          "negative_prompt has {} bytes, but at most {} are allowed", r.negative_prompt.size(),
          kMaxPromptBytes);
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
    require(std::find(choice.allowed.begin(), choice.allowed.end(), value) != choice.allowed.end(),
            "{} is '{}', but must be one of: {}", choice.field, value,
            fmt::join(choice.allowed, " "));
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

Json to_json(const JobRequest& r) {
  Json loras = Json::array();
  for (const auto& lora : r.lora) loras.push_back({{"file", lora.file}, {"scale", lora.scale}});
  Json keyframes = Json::array();
  for (const auto& one : r.keyframes) {
    keyframes.push_back({{"frame", one.frame}, {"file", one.file}});
  }
  // Field by field: lists in braces would be copied twice, and every status answer has one of these.
  Json json = Json::object();
  json["model"] = r.model;
  json["motion_adapter"] = r.motion_adapter;
  json["vae"] = r.vae;
  json["tokenizer"] = r.tokenizer;
  json["lora"] = std::move(loras);
  json["init_image"] = r.init_image;
  json["keyframes"] = std::move(keyframes);
  json["input_video"] = r.input_video;
  json["input_fps"] = r.input_fps;
  json["input_skip"] = r.input_skip;
  json["input_step"] = r.input_step;
  json["missing"] = r.missing;
  json["input_every"] = r.input_every;
  json["strength"] = r.strength;
  json["extend"] = r.extend;
  json["prompt"] = r.prompt;
  json["negative_prompt"] = r.negative_prompt;
  json["frames"] = r.frames;
  json["fps"] = r.fps;
  json["width"] = r.width;
  json["height"] = r.height;
  json["steps"] = r.steps;
  json["sampler"] = r.sampler;
  json["guidance"] = r.guidance;
  json["seed"] = r.seed;
  json["window"] = r.window;
  json["overlap"] = r.overlap;
  json["window_schedule"] = r.window_schedule;
  json["context_stride"] = r.context_stride;
  json["fuse"] = r.fuse;
  json["coherence"] = r.coherence;
  json["lag"] = r.lag;
  json["resample"] = r.resample;
  json["noise"] = r.noise;
  json["motion_norm"] = r.motion_norm;
  json["order"] = r.order;
  json["device"] = r.device;
  json["precision"] = r.precision;
  return json;
}

JobRequest job_request_from_json(const Json& document) {
  require(document.is_object(), "a job request must be a JSON object");
  JobRequest r;
  Reader reader(r);
  for (const auto& [key, value] : document.items()) {
    require(reader.set(key, value), "unknown field '{}'; known fields: {}", key,
            fmt::join(Reader::keys(), " "));
  }
  return r;
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

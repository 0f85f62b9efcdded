// The JSON form of a job request: every field both ways, unknown ones and wrong types refused.
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/request.h"

namespace seamwright {
namespace {

using Json = nlohmann::json;

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
      require(name == "scale" && field.is_number(),
              "an entry of {} has file and a number scale, not "
              "'{}'",
              key, name);
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
           require(value.is_array(),
                   "{} must be a list of \"FILE:SCALE\" or of objects with file "
                   "and scale",
                   key);
           r.lora.clear();
           for (const auto& one : value) r.lora.push_back(lora_from_json(one, key));
         }},
        {"prompt", text<&R::prompt>},
        {"negative_prompt", text<&R::negative_prompt>},
        {"init_image", text<&R::init_image>},
        {"keyframes",
         [](R& r, const std::string& key, const Json& value) {
           require(value.is_array(),
                   "{} must be a list of \"N=FILE\" or of objects with frame and "
                   "file",
                   key);
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

Json to_json(const JobRequest& r) {
  Json loras = Json::array();
  for (const auto& lora : r.lora) loras.push_back({{"file", lora.file}, {"scale", lora.scale}});
  Json keyframes = Json::array();
  for (const auto& one : r.keyframes) {
    keyframes.push_back({{"frame", one.frame}, {"file", one.file}});
  }
  // Field by field: lists in braces would be copied twice, and
  // every status answer has one of these.
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

}  // namespace seamwright

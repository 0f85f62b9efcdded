#include "coordinator/http/submission_body.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <optional>
#include <regex>
#include <set>

#include "base/error.h"
#include "base/request.h"
#include "coordinator/http/errors.h"
#include "coordinator/http/given_sources.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

constexpr double kMinSeconds = 0.001, kMaxSeconds = 9999.999;
constexpr std::string_view kSecondsPattern =
    R"(^([1-9][0-9]{0,3}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9])$)";
constexpr std::int64_t kMaxPriority = 100;
constexpr double kExactWhole = 9007199254740992.0;  // up to here a double names one whole number
constexpr double kMinInputFps = 0.1;
constexpr std::int64_t kLastDeadline = 253402300799;  // the end of the year 9999

std::string size_pattern() {
  // 16 to 8192
  constexpr std::string_view kSide =
      "(1[6-9]|[2-9][0-9]|[1-9][0-9]{2}|[1-7][0-9]{3}|80[0-9]{2}|81[0-8][0-9]|819[0-2])";
  return fmt::format("^{}[xX]{}$", kSide, kSide);
}

const Choice* find_choice(std::string_view name) {
  const auto& choices = job_request_choices();
  const auto found = std::find_if(choices.begin(), choices.end(),
                                  [&](const auto& choice) { return choice.field == name; });
  return found == choices.end() ? nullptr : &*found;
}

// Values of forms are text; of JSON, what they are.
struct Value {
  const std::string& field;
  const Json& json;
  bool text;

  [[noreturn]] void refuse(const std::string& must) const {
    throw bad_field(field, "invalid_value", fmt::format("{} must be {}", field, must));
  }
  std::string as_text() const {
    if (!json.is_string()) refuse("a string");
    return json.get<std::string>();
  }
  // The number, from JSON or from the text of a form.
  template <class T>
  std::optional<T> parsed() const {
    const auto& string = json.get_ref<const std::string&>();
    T value{};
    const auto [end, error] = std::from_chars(string.data(), string.data() + string.size(), value);
    if (error != std::errc() || end != string.data() + string.size()) return std::nullopt;
    return value;
  }
  std::int64_t as_integer(double low, double high) const {
    const auto wanted = [&] { return fmt::format("a whole number from {} to {}", low, high); };
    std::optional<std::int64_t> value;
    if (text && json.is_string()) {
      value = parsed<std::int64_t>();
    } else if (json.is_number_integer()) {
      if (!json.is_number_unsigned() || json.get<std::uint64_t>() <= INT64_MAX) {
        value = json.get<std::int64_t>();
      }
    } else if (json.is_number_float() && std::fabs(json.get<double>()) <= kExactWhole &&
               json.get<double>() == std::floor(json.get<double>())) {
      value = static_cast<std::int64_t>(json.get<double>());  // 5.0 is a whole number in JSON
    }
    if (!value || static_cast<double>(*value) < low || static_cast<double>(*value) > high) {
      refuse(wanted());
    }
    return *value;
  }
  double as_number(double low, double high) const {
    std::optional<double> value;
    if (text && json.is_string()) {
      value = parsed<double>();
    } else if (json.is_number()) {
      value = json.get<double>();
    }
    if (!value || !(*value >= low && *value <= high)) {
      refuse(fmt::format("a number from {} to {}", low, high));
    }
    return *value;
  }
  bool as_flag() const {
    if (json.is_boolean()) return json.get<bool>();
    if (text && json.is_string() && (json == "true" || json == "false")) return json == "true";
    refuse("true or false");
  }
};

// Whole text against one of the patterns that the API document shows.
bool matches(const std::string& text, std::string_view pattern) {
  return text.size() <= 256 && std::regex_match(text, std::regex(std::string(pattern)));
}

// Deadlines before this are refused: the API document can only show a fixed bound.
std::int64_t service_start() {
  static const auto kStart = static_cast<std::int64_t>(std::time(nullptr));
  return kStart;
}

Json checked(const RequestField& field, const Value& value) {
  if (field.kind == FieldKind::kInteger) {
    const std::int64_t number = value.as_integer(field.low, field.high);
    return number < 0 ? Json(number) : Json(static_cast<std::uint64_t>(number));
  }
  if (field.kind == FieldKind::kNumber) return value.as_number(field.low, field.high);
  std::string text = value.as_text();
  if (const Choice* choice = find_choice(field.name)) {
    if (std::find(choice->allowed.begin(), choice->allowed.end(), text) == choice->allowed.end()) {
      value.refuse(fmt::format("one of: {}", fmt::join(choice->allowed, " ")));
    }
  } else if (static_cast<double>(text.size()) < field.low ||
             static_cast<double>(text.size()) > field.high) {
    value.refuse(fmt::format("text of {} to {} bytes", field.low, field.high));
  } else if (field.name == "model" && !matches(text, kModelNamePattern)) {
    value.refuse("the name of a model of GET /v1/models, such as demo or demo/few_step");
  } else if (field.name == "missing" && text.empty()) {
    value.refuse("frames such as 40-55,80");
  }
  return text;
}

double seconds_of(const Value& value) {
  // A form cannot tell text from numbers.
  if (!value.json.is_string() || value.text) return value.as_number(kMinSeconds, kMaxSeconds);
  const std::string text = value.as_text();
  if (!matches(text, kSecondsPattern)) {
    value.refuse(fmt::format("text such as \"4\" or \"2.5\", from 0.001 to {}", kMaxSeconds));
  }
  return std::stod(text);
}

void set_size(const Value& value, JobRequest& request) {
  const std::string text = value.as_text();
  if (!matches(text, size_pattern())) {
    value.refuse("WIDTHxHEIGHT in pixels from 16 to 8192, such as 512x384");
  }
  parse_size(text, request.width, request.height);
}

// The fields that are not the job request's own; false = unknown.
bool set_extra(const Value& value, Submission& submission, std::optional<double>& seconds) {
  const std::string& field = value.field;
  if (field == "seconds") {
    seconds = seconds_of(value);
  } else if (field == "size") {
    set_size(value, submission.request);
  } else if (field == "priority") {
    submission.priority = static_cast<int>(value.as_integer(-kMaxPriority, kMaxPriority));
  } else if (field == "endless") {
    submission.endless = value.as_flag();
  } else if (field == "deadline") {
    submission.deadline = value.as_integer(static_cast<double>(service_start()), kLastDeadline);
  } else {
    return false;
  }
  return true;
}

[[noreturn]] void refuse_unknown(const std::string& name) {
  std::vector<std::string_view> known;
  for (const auto& field : job_request_fields()) {
    if (!is_local_field(field.name)) known.push_back(field.name);
  }
  for (const auto& field : submission_extra_fields()) known.push_back(field.name);
  throw bad_field(name, "unknown_field",
                  fmt::format("unknown field '{}'; known fields: {}", name, fmt::join(known, " ")));
}

void apply_seconds(double seconds, JobRequest& request) {
  const double frames = std::max(1.0, std::round(seconds * request.fps));
  const RequestField& field = *find_request_field("frames");
  if (frames > field.high) {
    throw bad_field("seconds", "invalid_value",
                    fmt::format("seconds {} at {} frames per second is more than {} frames",
                                seconds, request.fps, field.high));
  }
  request.frames = static_cast<std::int64_t>(frames);
}

void check_whole(const JobRequest& request) {
  if (request.prompt.empty()) {
    throw bad_field("prompt", "missing_field", "prompt is missing: say what to show");
  }
  try {
    validate(request);
  } catch (...) {
    throw to_api_error(std::current_exception());
  }
}

}  // namespace

bool is_local_field(std::string_view name) {
  const RequestField* field = find_request_field(name);
  return name == "width" || name == "height" || (field != nullptr && field->local);
}

bool is_remix_field(std::string_view name) {
  static const std::set<std::string_view> kNames{
      "prompt",  "negative_prompt", "frames", "seconds", "fps",      "size",    "steps",
      "sampler", "guidance",        "seed",   "noise",   "priority", "endless", "deadline"};
  return kNames.contains(name);
}

void apply_body(const Body& body, Submission& submission) {
  Json request = to_json(submission.request);
  std::optional<double> seconds;
  // The job request's own fields first, so that seconds can count on fps.
  for (const auto& [name, json] : body.fields.items()) {
    const RequestField* field = find_request_field(name);
    if (field == nullptr || is_source_field(name)) continue;
    if (name == "width" || name == "height") {
      throw bad_field(name, "unsupported", "give size as WIDTHxHEIGHT instead of width and height");
    }
    if (is_local_field(name)) {
      throw bad_field(name, "unsupported",
                      fmt::format("{} cannot be chosen over the API: it names a file of the server "
                                  "or belongs to one; ask for another model",
                                  name));
    }
    request[name] = checked(*field, {name, json, body.text_values});
  }
  try {
    submission.request = job_request_from_json(request);
  } catch (...) {
    throw to_api_error(std::current_exception());
  }
  apply_sources(body, submission);
  for (const auto& [name, json] : body.fields.items()) {
    if (find_request_field(name) != nullptr || is_source_field(name)) continue;
    if (name == "video" && !body.video_is.empty()) continue;
    if (!set_extra({name, json, body.text_values}, submission, seconds)) refuse_unknown(name);
  }
  // frames is exact, so it decides where both are given.
  if (seconds && !body.fields.contains("frames")) apply_seconds(*seconds, submission.request);
  check_whole(submission.request);
}

Json field_schema(const RequestField& field) {
  Json schema = {{"description", field.help}};
  if (is_source_field(field.name)) {
    schema.update(source_schema(field.name, false));
  } else if (field.kind == FieldKind::kText) {
    schema["type"] = "string";
    if (const Choice* choice = find_choice(field.name)) {
      schema["enum"] = choice->allowed;
    } else if (field.name == "model") {
      schema["pattern"] = kModelNamePattern;
      schema["maxLength"] = static_cast<std::int64_t>(field.high);
    } else if (field.name == "missing") {
      schema["pattern"] = "^[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*$";
      schema["format"] = "frame-ranges";  // ascending, each once, below frames
    } else {
      schema["minLength"] = static_cast<std::int64_t>(field.low);
      schema["maxLength"] = static_cast<std::int64_t>(field.high);
    }
  } else {
    const bool whole = field.kind == FieldKind::kInteger;
    schema["type"] = whole ? "integer" : "number";
    const char* low = field.name == "strength" ? "exclusiveMinimum" : "minimum";
    schema[low] = whole ? Json(static_cast<std::int64_t>(field.low)) : Json(field.low);
    if (field.name == "input_fps") {  // nothing between "as it is" and the slowest rate
      schema["anyOf"] = {{{"const", 0}}, {{"minimum", kMinInputFps}}};
    }
    schema["maximum"] = whole ? Json(static_cast<std::int64_t>(field.high)) : Json(field.high);
  }
  return schema;
}

const std::vector<ExtraField>& submission_extra_fields() {
  static const std::vector<ExtraField> fields = {
      {"seconds",
       {{"description", "length in seconds, as text or number; frames is the exact form"},
        {"anyOf",
         {{{"type", "string"}, {"pattern", kSecondsPattern}},
          {{"type", "number"}, {"minimum", kMinSeconds}, {"maximum", kMaxSeconds}}}}}},
      {"size",
       {{"description", "WIDTHxHEIGHT in pixels; the model's own when not given"},
        {"type", "string"},
        {"pattern", size_pattern()}}},
      {"input_reference", source_schema("input_reference", false)},
      {"priority",
       {{"description", "higher runs first"},
        {"type", "integer"},
        {"minimum", -kMaxPriority},
        {"maximum", kMaxPriority}}},
      {"endless",
       {{"description", "goes on until cancelled, or until the deadline"}, {"type", "boolean"}}},
      {"deadline",
       {{"description", "Unix time after which the job ends"},
        {"type", "integer"},
        {"minimum", service_start()},
        {"maximum", kLastDeadline}}},
  };
  return fields;
}

}  // namespace seamwright::coordinator::http

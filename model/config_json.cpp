#include "model/config_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/quoted.h"
#include "model/mapped_file.h"

namespace seamwright::model {
namespace {

// Python's json writes non-finite numbers as bare words that JSON does not have. Outside strings,
// replaces them by numbers of the same sign and no greater length.
std::string replace_infinities(std::string_view text) {
  std::string out(text);
  constexpr std::string_view kWord = "Infinity";
  constexpr std::string_view kNumber = "1e308   ";
  bool in_string = false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (in_string) {
      if (out[i] == '\\') {
        ++i;
      } else if (out[i] == '"') {
        in_string = false;
      }
    } else if (out[i] == '"') {
      in_string = true;
    } else if (out[i] == 'I' && std::string_view(out).substr(i, kWord.size()) == kWord) {
      out.replace(i, kWord.size(), kNumber);
    }
  }
  return out;
}

// Watches the parser: nesting, and keys that appear twice in one object.
class Watch {
 public:
  Watch(std::string_view file, std::size_t max_depth) : file_(file), max_depth_(max_depth) {}

  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (static_cast<std::size_t>(depth) >= max_depth_) {
        fail(ErrorCode::kCorrupt, "{}: nested deeper than {} levels", file_, max_depth_);
      }
      if (event == Event::object_start) keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        fail(ErrorCode::kCorrupt, "{}: key {} appears twice", file_, in_quotes(key));
      }
    }
    return true;
  }

 private:
  std::string_view file_;
  std::size_t max_depth_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view file, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    fail(ErrorCode::kCorrupt, "{}: {} bytes, more than the {} a file of its kind may have", file,
         text.size(), limits.max_bytes);
  }
  Watch watch(file, limits.max_depth);
  const Json::parser_callback_t callback = [&watch](int depth, Json::parse_event_t event,
                                                    Json& parsed) {
    return watch(depth, event, parsed);
  };
  try {
    return Json::parse(replace_infinities(text), callback);
  } catch (const Json::exception& error) {
    fail(ErrorCode::kCorrupt, "{}: not valid JSON: {}", file, in_quotes(error.what()));
  }
}

Json read_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string(),
                    limits);
}

Config Config::read(const std::filesystem::path& path) {
  return Config(read_json_file(path), path.string());
}

Config::Config(Json document, std::string file)
    : document_(std::move(document)), file_(std::move(file)) {
  if (!document_.is_object()) {
    fail(ErrorCode::kCorrupt, "{}: a config must be a JSON object", file_);
  }
}

const Json* Config::value(std::string_view key) const {
  const auto found = document_.find(key);
  return found == document_.end() || found->is_null() ? nullptr : &*found;
}

std::string Config::shown(std::string_view key) const {
  const Json* found = value(key);
  return found == nullptr ? "missing"
                          : in_quotes(found->dump(-1, ' ', true, Json::error_handler_t::replace));
}

void Config::wrong(std::string_view key, std::string_view why) const {
  fail(ErrorCode::kInvalidArgument, "{}: {} is {}, but {}", file_, key, shown(key), why);
}

void Config::unsupported(std::string_view key, std::string_view why) const {
  fail(ErrorCode::kUnsupported, "{}: {} is {}: {}", file_, key, shown(key), why);
}

std::int64_t Config::to_integer(std::string_view key, const Json& value, IntRange range) const {
  if (!value.is_number_integer()) wrong(key, "it must be an integer");
  const bool huge = value.is_number_unsigned() &&
                    value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  if (huge || value.get<std::int64_t>() < range.low || value.get<std::int64_t>() > range.high) {
    wrong(key, fmt::format("it must be between {} and {}", range.low, range.high));
  }
  return value.get<std::int64_t>();
}

double Config::to_number(std::string_view key, const Json& value, NumberRange range) const {
  if (!value.is_number()) wrong(key, "it must be a number");
  const double number = value.get<double>();
  if (!(number >= range.low && number <= range.high)) {
    wrong(key, fmt::format("it must be between {} and {}", range.low, range.high));
  }
  return number;
}

const Json& Config::list(std::string_view key, const Json& value, std::size_t max_count) const {
  if (!value.is_array()) wrong(key, "it must be a list");
  if (value.empty() || value.size() > max_count) {
    wrong(key, fmt::format("the list must have 1 to {} entries", max_count));
  }
  return value;
}

std::int64_t Config::integer(std::string_view key, std::int64_t fallback, IntRange range) const {
  const Json* found = value(key);
  return found == nullptr ? fallback : to_integer(key, *found, range);
}

double Config::number(std::string_view key, double fallback, NumberRange range) const {
  return optional_number(key, range).value_or(fallback);
}

std::optional<double> Config::optional_number(std::string_view key, NumberRange range) const {
  const Json* found = value(key);
  if (found == nullptr) return std::nullopt;
  return to_number(key, *found, range);
}

bool Config::boolean(std::string_view key, bool fallback) const {
  const Json* found = value(key);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) wrong(key, "it must be true or false");
  return found->get<bool>();
}

std::string Config::text(std::string_view key, std::string_view fallback) const {
  const Json* found = value(key);
  if (found == nullptr) return std::string(fallback);
  if (!found->is_string()) wrong(key, "it must be a string");
  return found->get<std::string>();
}

std::string Config::choice(std::string_view key, std::string_view fallback,
                           std::initializer_list<std::string_view> allowed) const {
  const std::string chosen = text(key, fallback);
  if (std::find(allowed.begin(), allowed.end(), chosen) == allowed.end()) {
    unsupported(key, fmt::format("supported: {}", fmt::join(allowed, ", ")));
  }
  return chosen;
}

std::vector<std::int64_t> Config::integers(std::string_view key, std::vector<std::int64_t> fallback,
                                           IntRange range, std::size_t max_count) const {
  const Json* found = value(key);
  if (found == nullptr) return fallback;
  std::vector<std::int64_t> out;
  for (const Json& entry : list(key, *found, max_count)) {
    out.push_back(to_integer(key, entry, range));
  }
  return out;
}

std::vector<double> Config::numbers(std::string_view key, NumberRange range,
                                    std::size_t max_count) const {
  std::vector<double> out;
  const Json* found = value(key);
  if (found == nullptr) return out;
  for (const Json& entry : list(key, *found, max_count)) {
    out.push_back(to_number(key, entry, range));
  }
  return out;
}

std::vector<std::string> Config::texts(std::string_view key, std::vector<std::string> fallback,
                                       std::size_t max_count) const {
  const Json* found = value(key);
  if (found == nullptr) return fallback;
  std::vector<std::string> out;
  for (const Json& entry : list(key, *found, max_count)) {
    if (!entry.is_string()) wrong(key, "every entry must be a string");
    out.push_back(entry.get<std::string>());
  }
  return out;
}

std::vector<std::int64_t> Config::integer_per_block(std::string_view key, std::int64_t fallback,
                                                    std::size_t count, IntRange range) const {
  const Json* found = value(key);
  if (found == nullptr) return std::vector<std::int64_t>(count, fallback);
  if (!found->is_array()) {
    return std::vector<std::int64_t>(count, to_integer(key, *found, range));
  }
  if (found->size() != count) {
    wrong(key, fmt::format("a list must have one entry for each of the {} blocks", count));
  }
  std::vector<std::int64_t> out;
  for (const Json& entry : *found) {
    if (entry.is_array()) unsupported(key, "different values within a block are not supported");
    out.push_back(to_integer(key, entry, range));
  }
  return out;
}

void Config::refuse_unless_default(std::string_view key, const Json& harmless) const {
  const Json* found = value(key);
  if (found == nullptr || *found == harmless) return;
  if (found->is_boolean() && !found->get<bool>()) return;
  unsupported(key, "this engine does not compute models that use it");
}

}  // namespace seamwright::model

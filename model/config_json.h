// Reading of JSON files that come with a model: bounded, strict, and every error names file and
// key.
// Threads: values; reading a file is one call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright::model {

using Json = nlohmann::json;

struct JsonLimits {
  std::size_t max_bytes = 1U << 20;
  std::size_t max_depth = 32;
};

// Parses UTF-8 JSON. Refused with kCorrupt: broken syntax, a key that appears twice in one object,
// nesting or size beyond the limits. Python's `Infinity` and `-Infinity`, which diffusers writes
// (lambda_min_clipped), are read as +-1e308.
Json parse_json(std::string_view text, std::string_view file, const JsonLimits& limits = {});
Json read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

struct IntRange {
  std::int64_t low;
  std::int64_t high;
};
struct NumberRange {
  double low;
  double high;
};

// One config.json. A missing key and null both mean the default; unknown keys are ignored, since
// real files carry keys of other versions and classes. A wrong type or a value out of range throws
// kInvalidArgument naming file, key, value and what is allowed.
class Config {
 public:
  static Config read(const std::filesystem::path& path);
  // `document` must be an object.
  Config(Json document, std::string file);

  const std::string& file() const { return file_; }
  bool has(std::string_view key) const { return value(key) != nullptr; }
  // The raw value; null when missing or null.
  const Json* value(std::string_view key) const;

  std::int64_t integer(std::string_view key, std::int64_t fallback, IntRange range) const;
  double number(std::string_view key, double fallback, NumberRange range) const;
  std::optional<double> optional_number(std::string_view key, NumberRange range) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  // One of `allowed`; kUnsupported otherwise, since the file may be right and we too small.
  std::string choice(std::string_view key, std::string_view fallback,
                     std::initializer_list<std::string_view> allowed) const;

  std::vector<std::int64_t> integers(std::string_view key, std::vector<std::int64_t> fallback,
                                     IntRange range, std::size_t max_count) const;
  std::vector<double> numbers(std::string_view key, NumberRange range, std::size_t max_count) const;
  std::vector<std::string> texts(std::string_view key, std::vector<std::string> fallback,
                                 std::size_t max_count) const;
  // A scalar stands for `count` equal values; a list must have `count`.
  std::vector<std::int64_t> integer_per_block(std::string_view key, std::int64_t fallback,
                                              std::size_t count, IntRange range) const;

  // Refuses a key that turns on something this engine does not compute: anything but missing,
  // null, false, or `harmless`. kUnsupported.
  void refuse_unless_default(std::string_view key, const Json& harmless = nullptr) const;

  // Throw kInvalidArgument or kUnsupported for this file and key.
  [[noreturn]] void wrong(std::string_view key, std::string_view why) const;
  [[noreturn]] void unsupported(std::string_view key, std::string_view why) const;

 private:
  std::int64_t to_integer(std::string_view key, const Json& value, IntRange range) const;
  double to_number(std::string_view key, const Json& value, NumberRange range) const;
  const Json& list(std::string_view key, const Json& value, std::size_t max_count) const;
  std::string shown(std::string_view key) const;

  Json document_;
  std::string file_;
};

}  // namespace seamwright::model

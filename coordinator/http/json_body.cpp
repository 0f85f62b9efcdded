#include "coordinator/http/json_body.h"

#include <fmt/core.h>

#include <set>
#include <vector>

#include "coordinator/http/errors.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

// Brackets outside strings, counted before anything is allocated for them.
void check_depth(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxJsonDepth) {
        throw bad_request("json_too_deep",
                          fmt::format("the JSON is nested deeper than {} levels", kMaxJsonDepth));
      }
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

}  // namespace

Json parse_json(std::string_view text) {
  check_depth(text);
  std::vector<std::set<std::string>> keys;  // of the open objects
  std::string repeated;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      repeated = value.get<std::string>();
    }
    return true;
  };
  Json parsed = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) throw bad_request("bad_json", "the body is not valid JSON");
  if (!repeated.empty()) {
    throw bad_field(repeated, "repeated_field",
                    fmt::format("the field '{}' is given twice", repeated));
  }
  return parsed;
}

}  // namespace seamwright::coordinator::http

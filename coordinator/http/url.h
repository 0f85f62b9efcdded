// Request targets taken apart: decoded path segments and query parameters.
// Threads: pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright::coordinator::http {

// "%41+b" -> "A+b" (plus_is_space: "A b"). Throws ApiError 400 on a broken escape, a control
// character or text that is not UTF-8.
std::string percent_decode(std::string_view text, bool plus_is_space);

struct Target {
  std::vector<std::string> path;
  std::map<std::string, std::string> query;
};

// "/v1/videos?limit=5". Throws ApiError 400 on anything odd: not starting with a slash, empty, "."
// or ".." segments, a repeated parameter, more than 32 segments or parameters.
Target parse_target(std::string_view target);

bool is_utf8(std::string_view text);

// ASCII letters in lower case; other bytes stay.
std::string lower(std::string_view text);

}  // namespace seamwright::coordinator::http

// JSON bodies under limits, whatever they hold.
// Threads: pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace seamwright::coordinator::http {

inline constexpr int kMaxJsonDepth = 16;

// Throws ApiError 400 on text that is not JSON, is nested deeper than kMaxJsonDepth, or names a key
// twice in one object.
nlohmann::json parse_json(std::string_view text);

}  // namespace seamwright::coordinator::http

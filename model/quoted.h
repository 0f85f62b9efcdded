// Text from files made safe to show in a message: control bytes escaped, length bounded.
// Threads: pure functions.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace seamwright::model {

// 'text' in single quotes; a hostile tensor name can neither flood a terminal nor move its cursor.
inline std::string in_quotes(std::string_view text) {
  constexpr std::size_t kShown = 160;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  out += text.size() > kShown ? "...'" : "'";
  return out;
}

}  // namespace seamwright::model

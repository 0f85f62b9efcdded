// Text from files and requests made safe to show in a message: control bytes and what is no UTF-8
// escaped, length bounded.
// Threads: pure functions.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace seamwright {

// Bytes of the UTF-8 character that `text` begins with; 0 where there is none.
inline std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return 0;
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xf0 && lead < 0xf5 ? 4
                                                           : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
  }
  // Longer than needed, surrogates, beyond the last code point.
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) >= 0xa0)) return 0;
  if ((lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) >= 0x90)) return 0;
  return length;
}

// 'text' in single quotes; a hostile tensor name can neither flood a terminal nor move its cursor,
// and what comes out is UTF-8 whatever goes in.
inline std::string in_quotes(std::string_view text) {
  constexpr std::size_t kShown = 160;
  std::string out = "'";
  std::size_t at = 0;
  while (at < text.size() && at < kShown) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const auto length = utf8_length(text.substr(at));
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
      ++at;
      continue;
    }
    if (at + length > kShown) break;
    out += text.substr(at, length);
    at += length;
  }
  out += at < text.size() ? "...'" : "'";
  return out;
}

}  // namespace seamwright

#include "coordinator/http/url.h"

#include <fmt/core.h>

#include <cstdint>

#include "coordinator/http/errors.h"

namespace seamwright::coordinator::http {
namespace {

constexpr std::size_t kMaxParts = 32;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

ApiError bad_target(const std::string& message) { return bad_request("bad_target", message); }

std::vector<std::string> parse_path(std::string_view path) {
  std::vector<std::string> segments;
  if (!path.starts_with('/')) throw bad_target("the request target must start with /");
  path.remove_prefix(1);
  if (path.empty()) return segments;
  while (true) {
    const auto slash = path.find('/');
    std::string segment = percent_decode(path.substr(0, slash), false);
    if (segment.empty() || segment == "." || segment == "..") {
      throw bad_target("the path has an empty, \".\" or \"..\" segment");
    }
    segments.push_back(std::move(segment));
    if (segments.size() > kMaxParts) throw bad_target("the path has too many segments");
    if (slash == std::string_view::npos) return segments;
    path.remove_prefix(slash + 1);
  }
}

std::map<std::string, std::string> parse_query(std::string_view query) {
  std::map<std::string, std::string> parameters;
  while (!query.empty()) {
    const auto end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    const std::string name = percent_decode(pair.substr(0, equals), true);
    const std::string value =
        equals == std::string_view::npos ? "" : percent_decode(pair.substr(equals + 1), true);
    if (!parameters.emplace(name, value).second) {
      throw bad_field(name, "repeated_parameter",
                      fmt::format("the query parameter '{}' is given twice", name));
    }
    if (parameters.size() > kMaxParts) throw bad_target("the query has too many parameters");
  }
  return parameters;
}

}  // namespace

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead < 0xC2 || lead > 0xF4) return false;
    std::uint32_t code = lead & (0x3F >> more);
    for (int k = 0; k < more; ++k, ++i) {
      if (i >= text.size() || (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return false;
      code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
    }
    constexpr std::uint32_t kShortest[] = {0, 0x80, 0x800, 0x10000};
    if (code < kShortest[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      return false;
  }
  return true;
}

std::string percent_decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 3 <= text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 3 <= text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) throw bad_target("the request target has a broken % escape");
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      throw bad_target("the request target has a control character");
    }
    decoded.push_back(c);
  }
  if (!is_utf8(decoded)) throw bad_target("the request target is not UTF-8");
  return decoded;
}

Target parse_target(std::string_view target) {
  target = target.substr(0, target.find('#'));
  const auto question = target.find('?');
  Target parsed;
  parsed.path = parse_path(target.substr(0, question));
  if (question != std::string_view::npos) parsed.query = parse_query(target.substr(question + 1));
  return parsed;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace seamwright::coordinator::http

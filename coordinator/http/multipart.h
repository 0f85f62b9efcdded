// multipart/form-data (RFC 7578) read strictly from a body that is already in memory and bounded.
// Threads: pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright::coordinator::http {

// "multipart/form-data; boundary=x": lower-case type and parameters with lower-case names.
struct MediaType {
  std::string type;
  std::vector<std::pair<std::string, std::string>> parameters;
  std::optional<std::string> parameter(std::string_view name) const;
};
// Also reads a Content-Disposition. Throws ApiError 400 on bad grammar.
MediaType parse_media_type(std::string_view text);

struct FormPart {
  std::string name;
  std::optional<std::string> filename;  // as given; only to be shown, never opened
  std::string content_type;             // "" = none given
  std::string_view value;               // into the body
};

// The parts in order. Throws ApiError 400 naming what is wrong: a body that does not start with the
// boundary or does not end with the closing one, a part without a name, too many parts or headers.
std::vector<FormPart> parse_multipart(std::string_view body, std::string_view boundary);

}  // namespace seamwright::coordinator::http

#include "coordinator/http/multipart.h"

#include <algorithm>
#include <cctype>

#include "coordinator/http/errors.h"
#include "coordinator/http/url.h"

namespace seamwright::coordinator::http {
namespace {

constexpr std::size_t kMaxParts = 128, kMaxPartHeaders = 16, kMaxHeaderBytes = 4096;
constexpr std::size_t kMaxBoundary = 70, kMaxName = 256;

ApiError bad_form(const std::string& message) {
  return bad_request("bad_multipart", "the multipart body is not valid: " + message);
}

bool is_token(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string take_token(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && (is_token(text[length]) || text[length] == '/')) ++length;
  if (length == 0) throw bad_request("bad_header", "a header has a wrong grammar");
  std::string token(text.substr(0, length));
  text.remove_prefix(length);
  return token;
}

// After the opening quote. Browsers escape quotes as %22; others with a backslash.
std::string take_quoted(std::string_view& text) {
  std::string value;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') {
      text.remove_prefix(i + 1);
      return value;
    }
    if (c == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\')) {
      c = text[++i];
    }
    value.push_back(c);
  }
  throw bad_request("bad_header", "a header has an unclosed quote");
}

// Moves past "\r\n" or throws.
void take_line_end(std::string_view& text, const char* where) {
  if (!text.starts_with("\r\n")) throw bad_form(std::string("no line end after ") + where);
  text.remove_prefix(2);
}

void read_part_header(std::string_view line, FormPart& part, bool& named) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) throw bad_form("a part has a bad header");
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trim(line.substr(colon + 1));
  if (name == "content-type") {
    part.content_type = parse_media_type(value).type;
  } else if (name == "content-disposition") {
    const MediaType disposition = parse_media_type(value);
    if (disposition.type != "form-data") throw bad_form("a part is not form-data");
    part.filename = disposition.parameter("filename");
    if (const auto given = disposition.parameter("name")) {
      if (given->empty() || given->size() > kMaxName || !is_utf8(*given)) {
        throw bad_form("a part has a bad name");
      }
      part.name = *given;
      named = true;
    }
  } else if (name == "content-transfer-encoding" && lower(value) != "binary" &&
             lower(value) != "8bit" && lower(value) != "7bit") {
    throw bad_form("a part has a transfer encoding; send it as it is");
  }
}

// Reads the headers of one part up to the empty line.
FormPart read_headers(std::string_view& rest) {
  FormPart part;
  bool named = false;
  std::size_t bytes = 0, count = 0;
  while (!rest.starts_with("\r\n")) {
    const auto end = rest.substr(0, kMaxHeaderBytes).find("\r\n");
    if (end == std::string_view::npos) throw bad_form("a part's header does not end");
    bytes += end;
    if (++count > kMaxPartHeaders || bytes > kMaxHeaderBytes) {
      throw bad_form("a part has too many headers");
    }
    read_part_header(rest.substr(0, end), part, named);
    rest.remove_prefix(end + 2);
  }
  rest.remove_prefix(2);
  if (!named) throw bad_form("a part has no name");
  return part;
}

}  // namespace

std::optional<std::string> MediaType::parameter(std::string_view name) const {
  for (const auto& [key, value] : parameters) {
    if (key == name) return value;
  }
  return std::nullopt;
}

MediaType parse_media_type(std::string_view text) {
  text = trim(text);
  MediaType parsed;
  parsed.type = lower(take_token(text));
  while (true) {
    text = trim(text);
    if (text.empty()) return parsed;
    if (text.front() != ';') throw bad_request("bad_header", "a header has a wrong grammar");
    text.remove_prefix(1);
    text = trim(text);
    if (text.empty()) return parsed;  // a trailing semicolon
    std::string name = lower(take_token(text));
    if (!text.starts_with('=')) throw bad_request("bad_header", "a header parameter has no value");
    text.remove_prefix(1);
    std::string value;
    if (text.starts_with('"')) {
      text.remove_prefix(1);
      value = take_quoted(text);
    } else {
      value = take_token(text);
    }
    if (parsed.parameter(name)) throw bad_request("bad_header", "a header parameter is repeated");
    parsed.parameters.emplace_back(std::move(name), std::move(value));
  }
}

std::vector<FormPart> parse_multipart(std::string_view body, std::string_view boundary) {
  if (boundary.empty() || boundary.size() > kMaxBoundary) {
    throw bad_form("the boundary must have 1 to 70 characters");
  }
  const std::string first = "--" + std::string(boundary), delimiter = "\r\n" + first;
  std::string_view rest = body;
  if (rest.starts_with("\r\n")) rest.remove_prefix(2);
  if (!rest.starts_with(first)) throw bad_form("it does not start with the boundary");
  rest.remove_prefix(first.size());
  std::vector<FormPart> parts;
  while (!rest.starts_with("--")) {
    take_line_end(rest, "a boundary");
    if (parts.size() == kMaxParts) throw bad_form("it has more than 128 parts");
    FormPart part = read_headers(rest);
    const auto end = rest.find(delimiter);
    if (end == std::string_view::npos) throw bad_form("the closing boundary is missing");
    part.value = rest.substr(0, end);
    rest.remove_prefix(end + delimiter.size());
    parts.push_back(std::move(part));
  }
  rest.remove_prefix(2);
  if (!rest.empty() && rest != "\r\n") throw bad_form("something follows the closing boundary");
  return parts;
}

}  // namespace seamwright::coordinator::http

// Bodies as field trees: nested form names, multipart and JSON.
#include <fmt/core.h>

#include <algorithm>

#include "coordinator/http/errors.h"
#include "coordinator/http/given_sources.h"
#include "coordinator/http/json_body.h"
#include "coordinator/http/multipart.h"
#include "coordinator/http/submission_body.h"
#include "coordinator/http/url.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxTextBytes = 256 * 1024;

ApiError bad_name(const std::string& name, const std::string& why) {
  return bad_field(name, "bad_field_name",
                   fmt::format("the form field '{}' has a wrong name: {}", name, why));
}

// "a[b][]" -> {"a", "b", ""}
std::vector<std::string> split_name(const std::string& name) {
  const auto open = name.find('[');
  std::vector<std::string> keys{name.substr(0, open)};
  if (keys[0].empty()) throw bad_name(name, "it is empty");
  for (std::size_t at = open; at != std::string::npos && at < name.size();) {
    const auto close = name.find(']', at);
    if (name[at] != '[' || close == std::string::npos) throw bad_name(name, "unpaired brackets");
    keys.push_back(name.substr(at + 1, close - at - 1));
    at = close + 1;
  }
  if (keys.size() > kMaxJsonDepth - 1) throw bad_name(name, "it nests too deep");
  return keys;
}

bool is_source(std::string_view name) {
  return name == "video" || is_source_field(name.substr(0, name.find('[')));
}

// A file has a name, or is one where only a file makes sense: `curl -F 'video=<clip.mp4'`.
bool is_file(const FormPart& part) {
  return part.filename || (is_source(part.name) && kind_of_file(part.value) != MediaKind::kUnknown);
}

// What a video starts from may be an object, such as {"id": "video_..."}: in a form, its JSON.
void unpack_sources(Json& fields) {
  for (auto& [name, value] : fields.items()) {
    if (!value.is_string() || !is_source(name)) continue;
    const std::string text = value.get<std::string>();
    if (text.starts_with('{')) value = parse_json(text);
  }
}

Body from_multipart(const HttpRequest& request, const MediaType& type) {
  const auto boundary = type.parameter("boundary");
  if (!boundary) {
    throw bad_request("bad_multipart", "multipart/form-data needs a boundary parameter");
  }
  Body body;
  body.text_values = true;
  for (const FormPart& part : parse_multipart(request.body, *boundary)) {
    if (is_file(part)) {
      set_form_field(body.fields, part.name, upload_marker(body.uploads.size()));
      body.uploads.push_back(std::make_shared<const std::string>(part.value));
      continue;
    }
    // Files as data URLs are bounded by the body alone.
    const bool bounded = part.value.size() <= kMaxTextBytes || part.value.starts_with("data:") ||
                         part.value.starts_with('{');
    if (!bounded || !is_utf8(part.value)) {
      throw bad_field(
          part.name, "invalid_value",
          fmt::format("{} must be UTF-8 text of at most {} bytes", part.name, kMaxTextBytes));
    }
    set_form_field(body.fields, part.name, std::string(part.value));
  }
  unpack_sources(body.fields);
  return body;
}

Body from_urlencoded(const HttpRequest& request) {
  Body body;
  body.text_values = true;
  for (const auto& [name, value] : parse_target("/?" + request.body).query) {
    set_form_field(body.fields, name, value);
  }
  unpack_sources(body.fields);
  return body;
}

}  // namespace

void set_form_field(Json& fields, const std::string& name, Json value) {
  const auto keys = split_name(name);
  Json* at = &fields;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string& key = keys[i];
    if (key.empty()) {  // "[]" appends
      if (at->is_null()) *at = Json::array();
      if (!at->is_array()) throw bad_name(name, "it is a list here and not a list elsewhere");
      at->push_back(nullptr);
      at = &at->back();
    } else {
      if (at->is_null()) *at = Json::object();
      if (!at->is_object()) throw bad_name(name, "it is an object here and a value elsewhere");
      at = &(*at)[key];
    }
  }
  if (!at->is_null()) {
    throw bad_field(name, "repeated_field", fmt::format("the field '{}' is given twice", name));
  }
  *at = std::move(value);
}

Body read_body(const HttpRequest& request) {
  const std::string& header = request.header("content-type");
  const MediaType type = header.empty() ? MediaType{} : parse_media_type(header);
  if (type.type == "multipart/form-data") return from_multipart(request, type);
  if (type.type == "application/x-www-form-urlencoded") return from_urlencoded(request);
  if (type.type != "application/json") {
    throw ApiError(415, "invalid_request_error", "unsupported_media_type", "",
                   fmt::format("the content type is '{}', but must be application/json or "
                               "multipart/form-data",
                               type.type));
  }
  Body body;
  body.fields = parse_json(request.body);
  if (!body.fields.is_object()) throw bad_request("bad_json", "the body must be a JSON object");
  return body;
}

}  // namespace seamwright::coordinator::http

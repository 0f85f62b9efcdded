#include "coordinator/http/given_sources.h"

#include <array>
#include <charconv>
#include <set>

#include "base/error.h"
#include "base/sha256.h"
#include "coordinator/http/api.h"
#include "coordinator/http/errors.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;
using namespace std::string_view_literals;

std::optional<unsigned> base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<unsigned>(c - 'A');
  if (c >= 'a' && c <= 'z') return static_cast<unsigned>(c - 'a') + 26;
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0') + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return std::nullopt;
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  unsigned bits = 0, count = 0;
  for (const char c : text) {
    const auto digit = base64_digit(c);
    if (!digit) return std::nullopt;
    bits = bits << 6U | *digit;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xFFU));
    bits &= (1U << count) - 1;
  }
  if (bits != 0) return std::nullopt;  // what is left over must be zeros
  return bytes;
}

bool has_at(std::string_view bytes, std::size_t at, std::string_view mark) {
  return bytes.size() >= at + mark.size() && bytes.substr(at, mark.size()) == mark;
}

std::string digest_name(std::string_view bytes) {
  return "sha256:" + to_hex(sha256(std::as_bytes(std::span(bytes.data(), bytes.size()))));
}

class Sources {
 public:
  Sources(const Body& body, Submission& submission) : body_(body), submission_(submission) {}

  std::string picture(const std::string& field, const Json& value) {
    return take(field, value, MediaKind::kPicture);
  }
  std::string video(const std::string& field, const Json& value) {
    if (const auto id = video_id_in(value)) {
      checked_id({{"video_id", *id}});
      add({.name = *id, .bytes = nullptr});
      return *id;
    }
    return take(field, value, MediaKind::kVideo);
  }

  // {"47": SOURCE}, [{"frame": 47, "file": SOURCE}] or ["47=SOURCE"].
  std::vector<KeyframeRequest> keyframes(const std::string& field, const Json& value) {
    std::vector<KeyframeRequest> all;
    // Before any of them is decoded.
    if ((value.is_object() || value.is_array()) && value.size() > kKeyframesMax) {
      refuse(field,
             fmt::format("name at most {} pictures; {} are given", kKeyframesMax, value.size()));
    }
    if (value.is_object()) {
      for (const auto& [frame, source] : value.items()) {
        all.push_back({frame_number(field, frame), picture(field, source)});
      }
      return all;
    }
    if (!value.is_array()) refuse(field, "be an object of sources by frame number, or a list");
    for (const auto& one : value) {
      if (one.is_string()) {
        const auto& text = one.get_ref<const std::string&>();
        const auto equals = text.find('=');
        if (equals == std::string::npos) refuse(field, "have entries such as 47=data:...");
        all.push_back({frame_number(field, text.substr(0, equals)),
                       picture(field, Json(text.substr(equals + 1)))});
        continue;
      }
      if (!one.is_object() || one.size() != 2 || !one.contains("frame") || !one.contains("file") ||
          !one["frame"].is_number_integer()) {
        refuse(field, "have entries with frame and file");
      }
      all.push_back({frame_number(field, one["frame"].dump()), picture(field, one["file"])});
    }
    return all;
  }

 private:
  [[noreturn]] static void refuse(const std::string& field, const std::string& must) {
    throw bad_field(field, "invalid_value", fmt::format("{} must {}", field, must));
  }

  static std::int64_t frame_number(const std::string& field, const std::string& text) {
    std::int64_t frame = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), frame);
    if (error != std::errc() || end != text.data() + text.size() || frame < 0 ||
        frame >= kMaxFrames) {
      refuse(field, "name frames by their number from 0");
    }
    return frame;
  }

  std::string take(const std::string& field, const Json& value, MediaKind wanted) {
    const Json* source = &value;
    if (source->is_object()) {
      if (source->contains("file_id")) {
        throw bad_field(field, "unsupported",
                        fmt::format("{} cannot be a file_id: this server keeps no files of its "
                                    "own; upload the file, or send a data URL",
                                    field));
      }
      if (source->size() != 1 || !source->contains("image_url")) {
        refuse(field, "be an uploaded file, a data URL, or an object with image_url");
      }
      source = &source->at("image_url");
    }
    const auto bytes = bytes_of(field, *source);
    const auto kind = kind_of_file(*bytes);
    if (kind != wanted && kind != MediaKind::kEither) {
      refuse(field, wanted == MediaKind::kPicture
                        ? "be a picture: PNG, JPEG, WebP, GIF, BMP or TIFF"
                        : "be a video: mp4, mov, webm, mkv, avi, mpegts, flv, GIF or APNG");
    }
    auto name = digest_name(*bytes);
    add({.name = name, .bytes = bytes});
    return name;
  }

  std::shared_ptr<const std::string> bytes_of(const std::string& field, const Json& source) {
    if (source.is_binary()) return body_.uploads.at(source.get_binary().subtype());
    if (!source.is_string()) refuse(field, "be an uploaded file or a data URL");
    const auto& text = source.get_ref<const std::string&>();
    if (text.starts_with("http://") || text.starts_with("https://")) {
      throw bad_field(field, "unsupported",
                      fmt::format("{} cannot be an address: this server fetches nothing; upload "
                                  "the file, or send a data URL",
                                  field));
    }
    auto bytes = decode_data_url(text);
    if (!bytes)
      refuse(field, "be an uploaded file, or a data URL such as data:image/png;base64,...");
    return std::make_shared<const std::string>(std::move(*bytes));
  }

  void add(GivenFile file) {
    for (const auto& have : submission_.files) {
      if (have.name == file.name) return;
    }
    submission_.files.push_back(std::move(file));
  }

  const Body& body_;
  Submission& submission_;
};

// What says how an input video is used means nothing without one.
void check_company(const Body& body, const JobRequest& request) {
  if (!request.input_video.empty()) return;
  for (const char* name :
       {"missing", "input_every", "strength", "input_fps", "input_skip", "input_step"}) {
    if (body.fields.contains(name)) {
      throw bad_field(name, "conflict", fmt::format("{} needs input_video", name));
    }
  }
}

}  // namespace

Json upload_marker(std::size_t index) { return Json::binary({}, index); }

bool is_source_field(std::string_view name) {
  static const std::set<std::string_view> kNames{"init_image", "input_reference", "keyframes",
                                                 "input_video", "extend"};
  return kNames.contains(name);
}

Json source_schema(std::string_view name, bool form) {
  const bool is_video = name == "input_video" || name == "extend" || name == "video";
  const Json id = {{"type", "object"},
                   {"properties", {{"id", {{"type", "string"}, {"pattern", kVideoIdPattern}}}}},
                   {"required", {"id"}},
                   {"additionalProperties", false}};
  if (form) {
    const Json file = {{"type", "string"}, {"format", is_video ? "video-file" : "picture-file"}};
    return is_video ? Json{{"anyOf", {file, id}}} : file;
  }
  const Json text = {
      {"type", "string"},
      {"format", is_video ? "video-data-url" : "picture-data-url"},
      {"pattern", is_video ? "^(data:[^,]*;base64,|video_[0-9a-f]{32}$)" : "^data:[^,]*;base64,"}};
  if (name == "keyframes") {
    return {{"type", "object"},
            {"maxProperties", kKeyframesMax},
            {"propertyNames", {{"pattern", "^(0|[1-9][0-9]{0,6})$"}}},
            {"additionalProperties", text}};
  }
  const Json url = {{"type", "object"},
                    {"properties", {{"image_url", text}}},
                    {"required", {"image_url"}},
                    {"additionalProperties", false}};
  return {{"anyOf", {text, is_video ? id : url}}};
}

std::optional<std::string> video_id_in(const Json& value) {
  const Json& id =
      value.is_object() && value.size() == 1 && value.contains("id") ? value["id"] : value;
  if (!id.is_string()) return std::nullopt;
  const auto& text = id.get_ref<const std::string&>();
  if (value.is_object() || text.starts_with("video_")) return text;
  return std::nullopt;
}

void apply_sources(const Body& body, Submission& submission) {
  auto& request = submission.request;
  Sources sources(body, submission);
  bool input = false;
  for (const auto& [given, value] : body.fields.items()) {
    const bool is_video = given == "video" && !body.video_is.empty();
    const std::string& name = is_video ? body.video_is : given;
    if (name == "init_image" || name == "input_reference") {
      if (name == "input_reference" && body.fields.contains("init_image")) {
        throw bad_field(name, "conflict", "input_reference and init_image are the same: give one");
      }
      request.init_image = sources.picture(given, value);
    } else if (name == "keyframes") {
      request.keyframes = sources.keyframes(given, value);
    } else if (name == "input_video") {
      request.input_video = sources.video(given, value);
      input = true;
    } else if (name == "extend") {
      request.extend = sources.video(given, value);
    }
  }
  check_company(body, request);
  if (input && !body.fields.contains("frames") && !body.fields.contains("seconds")) {
    // As long as the input; the service looks.
    submission.as_long_as_input = true;
    request.frames = kMaxFrames;
  }
}

std::optional<std::string> decode_data_url(std::string_view url) {
  if (!url.starts_with("data:")) return std::nullopt;
  const auto comma = url.find(',');
  if (comma == std::string_view::npos || !url.substr(0, comma).ends_with(";base64")) {
    return std::nullopt;
  }
  return decode_base64(url.substr(comma + 1));
}

MediaKind kind_of_file(std::string_view bytes) {
  using enum MediaKind;
  if (has_at(bytes, 0, "\x89PNG\r\n\x1a\n")) return kEither;  // may be an APNG
  if (has_at(bytes, 0, "GIF87a") || has_at(bytes, 0, "GIF89a")) return kEither;
  if (has_at(bytes, 0, "\xFF\xD8\xFF")) return kPicture;
  if (has_at(bytes, 0, "RIFF") && has_at(bytes, 8, "WEBP")) return kPicture;
  if (has_at(bytes, 0, "BM")) return kPicture;
  if (has_at(bytes, 0, "II*\0"sv) || has_at(bytes, 0, "MM\0*"sv)) return kPicture;
  if (has_at(bytes, 4, "ftyp") || has_at(bytes, 4, "moov") || has_at(bytes, 4, "mdat")) {
    return kVideo;
  }
  if (has_at(bytes, 0, "\x1A\x45\xDF\xA3")) return kVideo;  // Matroska, WebM
  if (has_at(bytes, 0, "RIFF") && has_at(bytes, 8, "AVI ")) return kVideo;
  if (has_at(bytes, 0, "FLV\x01")) return kVideo;
  if (has_at(bytes, 0, "G") && has_at(bytes, 188, "G")) return kVideo;  // MPEG transport stream
  return kUnknown;
}

}  // namespace seamwright::coordinator::http

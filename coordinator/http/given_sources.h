// What a video starts from, as requests bring it: an uploaded file, a data URL, or an earlier
// video. In the job's request a name stands for it: "sha256:..." of an upload, the id of a video.
// Threads: pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/http/submission_body.h"

namespace seamwright::coordinator::http {

// As many as a request may have (base/request.cpp refuses more, too).
inline constexpr std::size_t kKeyframesMax = 256;

// Stands for an uploaded file among the fields of a form; no JSON text can say the same.
nlohmann::json upload_marker(std::size_t index);

// A field that brings such a source under any of its names: init_image or input_reference,
// keyframes, input_video, extend.
bool is_source_field(std::string_view name);

// The JSON schema of such a field: data URLs in JSON; bytes in a form.
nlohmann::json source_schema(std::string_view name, bool form);

// Takes all sources that the body names into the submission. Throws ApiError 400 with the field.
void apply_sources(const Body& body, Submission& submission);

// The id of the video that a value such as {"id": "video_..."} names, if that is what it is.
std::optional<std::string> video_id_in(const nlohmann::json& value);

// The bytes of a data URL with base64; nullopt when it is none or is damaged.
std::optional<std::string> decode_data_url(std::string_view url);

// What a file's first bytes say that it is.
enum class MediaKind { kUnknown, kPicture, kVideo, kEither };
MediaKind kind_of_file(std::string_view bytes);

}  // namespace seamwright::coordinator::http

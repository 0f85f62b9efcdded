// The body of create and remix, JSON or form, as a checked submission.
// Threads: pure.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/request_fields.h"
#include "coordinator/http/message.h"
#include "coordinator/job_service.h"

namespace seamwright::coordinator::http {

struct Body {
  nlohmann::json fields = nlohmann::json::object();
  bool text_values = false;  // from a form: every value is a string
  // Files of a form, in order; see upload_marker.
  std::vector<std::shared_ptr<const std::string>> uploads = {};
  std::string video_is = {};  // the field that `video` stands for here; "" = there is no such field
};

// By content type: application/json, multipart/form-data or x-www-form-urlencoded; nested names
// such as a[b] and a[] become objects and arrays. Throws ApiError 400 and 415.
Body read_body(const HttpRequest& request);

// The form of one name and value, put into `fields`. Throws ApiError 400 on names that contradict
// each other or nest deeper than JSON may.
void set_form_field(nlohmann::json& fields, const std::string& name, nlohmann::json value);

// Sets what the body names, checks it against base/request_fields.h and base/request.h, and leaves
// the rest of `submission` as it is. Throws ApiError 400 with the field.
void apply_body(const Body& body, Submission& submission);

// What a remix may change: fields that mean the same whatever the rest of the request says.
bool is_remix_field(std::string_view name);

// Fields of a submission beyond the job request's own, for the API document.
struct ExtraField {
  std::string_view name;
  nlohmann::json schema;
};
const std::vector<ExtraField>& submission_extra_fields();
// Fields of a job request that are not taken from clients: names of files of this machine, and what
// size says. Files to start from come as uploads (given_sources.h).
bool is_local_field(std::string_view name);
// The JSON schema of a field of the job request.
nlohmann::json field_schema(const RequestField& field);
// What a model's name may look like.
inline constexpr std::string_view kModelNamePattern =
    "^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,3})?$";

}  // namespace seamwright::coordinator::http

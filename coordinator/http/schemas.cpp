#include "coordinator/http/schemas.h"

#include <algorithm>

#include "coordinator/http/given_sources.h"
#include "coordinator/http/submission_body.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

Json nullable(const char* type) { return {{"type", {type, "null"}}}; }
Json of(const char* type) { return {{"type", type}}; }

Json object_of(Json properties, std::vector<std::string> required) {
  return {
      {"type", "object"}, {"properties", std::move(properties)}, {"required", std::move(required)}};
}

Json with(Json properties) { return {{"properties", std::move(properties)}}; }

// At most one kind of thing to start from, with what belongs to it.
Json what_is_given() {
  const std::vector<std::string> all = {"init_image", "input_reference", "keyframes",
                                        "extend",     "input_video",     "strength",
                                        "missing",    "input_every"};
  const auto only = [&](std::vector<std::string> names, Json more = Json::object()) {
    Json properties = std::move(more);
    for (const auto& name : all) {
      if (std::find(names.begin(), names.end(), name) == names.end()) properties[name] = false;
    }
    if (std::find(names.begin(), names.end(), "input_video") == names.end()) {
      for (const char* name : {"input_fps", "input_skip", "input_step"}) properties[name] = false;
    }
    Json schema = with(std::move(properties));
    if (!names.empty()) schema["required"] = std::move(names);
    return schema;
  };
  return {
      {"anyOf",
       {only({}), only({"init_image"}), only({"input_reference"}), only({"keyframes"}),
        only({"init_image", "keyframes"}), only({"input_reference", "keyframes"}), only({"extend"}),
        only({"input_video", "strength"}, {{"strength", {{"exclusiveMaximum", 1}}}}),
        only({"input_video", "missing"}),
        only({"input_video", "input_every"}, {{"input_every", {{"minimum", 2}}}})}}};
}

// What fields say together, so that the document promises no more than the server takes.
Json what_goes_together() {
  // Other schedules have no order in which early frames are ready first.
  Json schedule = {{"anyOf",
                    {with({{"window_schedule", {{"const", "static"}}}}),
                     with({{"coherence", {{"const", "local"}}},
                           {"order", {{"enum", {"auto", "throughput"}}}}})}}};
  // Overlap is below window: JSON Schema compares no two fields, so the bound is given in steps.
  // The window a model suggests where none is given is not known here.
  Json steps = Json::array();
  steps.push_back(with({{"window", {{"maximum", 0}}}, {"overlap", {{"maximum", 1023}}}}));
  for (int window = 1; window <= 1024; window *= 2) {
    Json step = with({{"window", {{"minimum", window}}}, {"overlap", {{"maximum", window - 1}}}});
    step["required"] = {"window"};
    steps.push_back(std::move(step));
  }
  return Json::array({std::move(schedule), {{"anyOf", std::move(steps)}}});
}

// Of a form, files are bytes. Keyframes are then fields of their own, keyframes[47], which a schema
// cannot say.
Json create_schema(bool form) {
  Json properties = Json::object();
  for (const auto& field : job_request_fields()) {
    if (!is_local_field(field.name)) properties[std::string(field.name)] = field_schema(field);
  }
  for (const auto& field : submission_extra_fields()) {
    properties[std::string(field.name)] = field.schema;
  }
  if (form) {
    properties.erase("keyframes");
    for (auto& [name, schema] : properties.items()) {
      if (is_source_field(name)) schema = source_schema(name, true);
    }
  }
  Json schema = object_of(std::move(properties), {"prompt"});
  schema["additionalProperties"] = false;
  schema["allOf"] = what_goes_together();
  schema["allOf"].push_back(what_is_given());
  return schema;
}

// Of edits and extensions: as create, but for the video, which is the only thing to start from.
Json derive_schema(bool form, bool edit) {
  Json schema = create_schema(form);
  Json& properties = schema["properties"];
  for (const char* name : {"init_image", "input_reference", "keyframes", "input_video", "extend"}) {
    properties.erase(name);
  }
  for (const char* name :
       {"strength", "missing", "input_every", "input_fps", "input_skip", "input_step"}) {
    if (!edit) properties.erase(name);
  }
  properties["video"] = source_schema("video", form);
  schema["allOf"] = what_goes_together();
  if (edit) {
    Json ways = Json::array();
    const std::vector<std::string> names = {"strength", "missing", "input_every"};
    for (const auto& way : names) {
      Json others = Json::object();
      for (const auto& name : names) {
        if (name != way) others[name] = false;
      }
      if (way == "strength") others[way] = {{"exclusiveMaximum", 1}};
      if (way == "input_every") others[way] = {{"minimum", 2}};
      ways.push_back(with(std::move(others)));
    }
    schema["allOf"].push_back({{"anyOf", std::move(ways)}});
  }
  schema["required"] = {"prompt", "video"};
  return schema;
}

Json video_schema() {
  Json properties = {{"id", {{"type", "string"}, {"pattern", "^video_[0-9a-f]{32}$"}}},
                     {"object", {{"const", "video"}}},
                     {"model", of("string")},
                     {"status", {{"enum", {"queued", "in_progress", "completed", "failed"}}}},
                     {"progress", {{"type", "integer"}, {"minimum", 0}, {"maximum", 100}}},
                     {"created_at", of("integer")},
                     {"completed_at", nullable("integer")},
                     {"expires_at", nullable("integer")},
                     {"prompt", nullable("string")},
                     {"size", of("string")},
                     {"seconds", of("string")},
                     {"remixed_from_video_id", nullable("string")},
                     {"error",
                      {{"type", {"object", "null"}},
                       {"properties", {{"code", of("string")}, {"message", of("string")}}},
                       {"required", {"code", "message"}}}}};
  std::vector<std::string> required;
  for (const auto& [name, unused] : properties.items()) required.push_back(name);
  properties.update({{"request", of("object")},
                     {"priority", of("integer")},
                     {"endless", of("boolean")},
                     {"deadline", nullable("integer")},
                     {"queue_position", nullable("integer")},
                     {"waiting_for", nullable("string")},
                     {"started_at", nullable("integer")},
                     {"attempt", of("integer")},
                     {"gang", nullable("string")},
                     {"frames_done", of("integer")},
                     {"evaluations_done", of("integer")},
                     {"evaluations_total", of("integer")},
                     {"first_frame_seconds", nullable("number")},
                     {"frames_per_second", nullable("number")},
                     {"seconds_left", nullable("number")},
                     {"latents_sha256", nullable("string")},
                     {"content_expired", of("boolean")}});
  return object_of(std::move(properties), std::move(required));
}

const char* reason_of(int status) {
  switch (status) {
    case 400:
      return "A field or parameter is wrong; param names it";
    case 401:
      return "The API key is missing or wrong";
    case 403:
      return "Not with this key, or from a page of another origin";
    case 404:
      return "There is no such thing, or it belongs to another key";
    case 409:
      return "Not in this state";
    case 410:
      return "The file went by retention";
    case 413:
      return "The body is too large";
    case 415:
      return "The content type is neither JSON nor a form";
    case 416:
      return "The range lies beyond the end of the file";
    case 429:
      return "The queue is full or a key's limit is reached; retry-after says when";
    case 500:
      return "A fault of the server; its log says why";
    case 503:
      return "Not now; retry-after says when";
    default:
      return "Refused";
  }
}

}  // namespace

Json schema_ref(const std::string& name) { return {{"$ref", "#/components/schemas/" + name}}; }

Json component_schemas() {
  Json list = object_of({{"object", {{"const", "list"}}},
                         {"data", {{"type", "array"}, {"items", schema_ref("Video")}}},
                         {"first_id", nullable("string")},
                         {"last_id", nullable("string")},
                         {"has_more", of("boolean")}},
                        {"object", "data", "first_id", "last_id", "has_more"});
  Json remix = create_schema(false);
  remix.erase("allOf");
  Json changeable = Json::object();
  for (const auto& [name, schema] : remix.at("properties").items()) {
    if (is_remix_field(name)) changeable[name] = schema;
  }
  remix["properties"] = std::move(changeable);
  Json deleted = object_of({{"id", of("string")},
                            {"object", {{"const", "video.deleted"}}},
                            {"deleted", {{"const", true}}}},
                           {"id", "object", "deleted"});
  Json error = object_of({{"error", object_of({{"message", of("string")},
                                               {"type", of("string")},
                                               {"param", nullable("string")},
                                               {"code", nullable("string")}},
                                              {"message", "type", "param", "code"})}},
                         {"error"});
  Json model = object_of({{"id", of("string")},
                          {"object", {{"const", "model"}}},
                          {"created", of("integer")},
                          {"owned_by", of("string")}},
                         {"id", "object", "created", "owned_by"});
  Json models = object_of({{"object", {{"const", "list"}}},
                           {"data", {{"type", "array"}, {"items", schema_ref("Model")}}}},
                          {"object", "data"});
  Json health = object_of(
      {{"status", of("string")}, {"reasons", {{"type", "array"}, {"items", of("string")}}}},
      {"status", "reasons"});
  return {{"CreateVideo", create_schema(false)},
          {"CreateVideoForm", create_schema(true)},
          {"EditVideo", derive_schema(false, true)},
          {"EditVideoForm", derive_schema(true, true)},
          {"ExtendVideo", derive_schema(false, false)},
          {"ExtendVideoForm", derive_schema(true, false)},
          {"RemixVideo", std::move(remix)},
          {"Video", video_schema()},
          {"VideoList", std::move(list)},
          {"VideoDeleted", std::move(deleted)},
          {"Error", std::move(error)},
          {"Model", std::move(model)},
          {"ModelList", std::move(models)},
          {"Health", std::move(health)},
          {"Object", of("object")}};
}

std::vector<DocumentedResponse> responses(DocumentedResponse success, std::vector<int> more) {
  std::vector<DocumentedResponse> all{std::move(success)};
  for (const int status : {400, 401, 403, 429, 500, 503}) more.push_back(status);
  std::sort(more.begin(), more.end());
  more.erase(std::unique(more.begin(), more.end()), more.end());
  for (const int status : more) {
    if (status == all.front().status) continue;
    all.push_back({status, reason_of(status), "application/json", schema_ref("Error")});
  }
  return all;
}

}  // namespace seamwright::coordinator::http

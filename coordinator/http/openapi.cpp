#include "coordinator/http/openapi.h"

#include <algorithm>
#include <memory>
#include <string>

#include "base/version.h"
#include "coordinator/http/api.h"
#include "coordinator/http/schemas.h"
#include "coordinator/http/submission_body.h"
#include "coordinator/http/url.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

Json path_schema(const std::string& name) {
  if (name == "video_id") return {{"type", "string"}, {"pattern", kVideoIdPattern}};
  if (name == "model") {
    return {{"type", "string"}, {"pattern", kModelNamePattern}, {"minLength", 1}};
  }
  return {{"type", "string"}};
}

Json parameters_of(const Route& route) {
  Json parameters = Json::array();
  for (const std::string& segment : route.segments) {
    if (!segment.starts_with('{')) continue;
    const std::string name = segment.substr(1, segment.size() - 2);
    parameters.push_back(
        {{"name", name}, {"in", "path"}, {"required", true}, {"schema", path_schema(name)}});
  }
  for (const QueryParameter& parameter : route.query) {
    parameters.push_back({{"name", parameter.name},
                          {"in", "query"},
                          {"description", parameter.description},
                          {"schema", parameter.schema}});
  }
  return parameters;
}

Json body_of(const Route& route) {
  Json content = {{"application/json", {{"schema", route.body_schema}}}};
  if (route.has_form_body) {
    const bool own = !route.form_schema.is_null();
    content["multipart/form-data"] = {{"schema", own ? route.form_schema : route.body_schema}};
  }
  return {{"required", true}, {"content", std::move(content)}};
}

Json operation_of(const Route& route) {
  Json answers = Json::object();
  for (const DocumentedResponse& response : route.responses) {
    Json content = Json::object();
    Json& schema = content[response.content_type]["schema"];
    schema = response.schema;
    // Of event streams a schema would describe the single event.
    if (schema.is_null()) {
      const bool events = response.content_type == "text/event-stream";
      schema = events ? Json::object() : Json{{"type", "string"}};
    }
    Json& answer = answers[std::to_string(response.status)];
    answer["description"] = response.description;
    if (response.status != 204 && response.status != 304) {
      answer["content"].update(content);
    }
  }
  Json operation = {{"operationId", route.operation_id},
                    {"summary", route.summary},
                    {"parameters", parameters_of(route)},
                    {"responses", std::move(answers)}};
  if (!route.body_schema.is_null()) operation["requestBody"] = body_of(route);
  if (route.open) operation["security"] = Json::array();
  return operation;
}

}  // namespace

Json openapi_document(const Router& router, bool keys) {
  Json paths = Json::object();
  for (const Route& route : router.routes()) {
    if (!route.documented) continue;
    paths[route.pattern][lower(route.method)] = operation_of(route);
  }
  Json document = {{"openapi", "3.1.0"},
                   {"info",
                    {{"title", "Seamwright"},
                     {"version", kVersion},
                     {"description",
                      "Long videos from short-clip video diffusion models. Speaks "
                      "the /v1/videos contract of existing SDKs."}}},
                   {"paths", std::move(paths)},
                   {"components", {{"schemas", component_schemas()}}}};
  if (keys) {
    document["security"] = Json::array({{{"key", Json::array()}}});
    document["components"]["securitySchemes"]["key"] = {{"type", "http"}, {"scheme", "bearer"}};
  }
  return document;
}

void add_openapi_route(Router& router, bool keys) {
  Route route;
  route.method = "GET";
  route.pattern = "/openapi.json";
  route.operation_id = "getOpenapi";
  route.summary = "This document";
  route.open = true;
  route.responses = {{200, "The document", "application/json", schema_ref("Object")}};
  // Made once: the table does not change afterwards.
  auto text = std::make_shared<std::string>();
  route.handler = [text](const HttpRequest&, const PathParameters&) {
    HttpResponse response;
    response.body = *text;
    return response;
  };
  router.add(std::move(route));
  *text = openapi_document(router, keys).dump();
}

}  // namespace seamwright::coordinator::http

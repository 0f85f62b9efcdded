// Models, cluster, health and metrics.
#include <fmt/core.h>

#include "coordinator/http/api.h"
#include "coordinator/http/errors.h"
#include "coordinator/http/json_body.h"
#include "coordinator/http/schemas.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

void add_models(Router& router, JobService& service) {
  Route list{.method = "GET",
             .pattern = "/v1/models",
             .handler = {},
             .operation_id = "listModels",
             .summary = "The models this server has"};
  list.responses = responses({200, "All of them", "application/json", schema_ref("ModelList")}, {});
  list.handler = [&service](const HttpRequest&, const PathParameters&) {
    return json_response({{"object", "list"}, {"data", service.models()}});
  };
  router.add(std::move(list));

  Route one{.method = "GET",
            .pattern = "/v1/models/{model}",
            .handler = {},
            .operation_id = "retrieveModel",
            .summary = "One model"};
  one.responses = responses({200, "The model", "application/json", schema_ref("Model")}, {404});
  one.handler = [&service](const HttpRequest&, const PathParameters& path) {
    for (const Json& model : service.models()) {
      if (model.at("id") == path.at("model")) return json_response(model);
    }
    throw ApiError(404, "invalid_request_error", "model_not_found", "model",
                   fmt::format("there is no model '{}'; GET /v1/models lists what there is",
                               path.at("model")));
  };
  router.add(std::move(one));
}

void add_cluster(Router& router, JobService& service) {
  Route cluster{.method = "GET",
                .pattern = "/v1/cluster",
                .handler = {},
                .operation_id = "getCluster",
                .summary = "Gangs: layout, state, job, heartbeat"};
  cluster.responses = responses({200, "The cluster", "application/json", schema_ref("Object")}, {});
  cluster.handler = [&service](const HttpRequest&, const PathParameters&) {
    return json_response(service.cluster());
  };
  router.add(std::move(cluster));

  Route drain{.method = "POST",
              .pattern = "/v1/cluster/drain",
              .handler = {},
              .operation_id = "drainGang",
              .summary = "Give a gang (or all) no new work; it ends when it is idle"};
  drain.admin = true;
  drain.max_body_bytes = 4096;
  drain.body_schema = {
      {"type", "object"},
      {"properties",
       {{"gang", {{"type", "string"}, {"description", "its name; empty or absent = all"}}}}},
      {"additionalProperties", false}};
  drain.responses =
      responses({200, "The cluster", "application/json", schema_ref("Object")}, {404, 413});
  drain.handler = [&service](const HttpRequest& request, const PathParameters&) {
    const Json body = parse_json(request.body);
    if (!body.is_object()) throw bad_request("bad_json", "the body must be a JSON object");
    for (const auto& [name, value] : body.items()) {
      if (name != "gang" || !value.is_string()) {
        throw bad_field(name, "invalid_value", "the body may have one field, gang, which is text");
      }
    }
    service.drain(body.value("gang", ""));
    return json_response(service.cluster());
  };
  router.add(std::move(drain));
}

void add_health(Router& router, JobService& service) {
  const auto answer = [](bool good, const HealthView& health) {
    return json_response({{"status", good ? "ok" : "unavailable"}, {"reasons", health.reasons}},
                         good ? 200 : 503);
  };
  const auto add = [&](const std::string& pattern, const std::string& id,
                       const std::string& summary, auto good) {
    Route route{
        .method = "GET", .pattern = pattern, .handler = {}, .operation_id = id, .summary = summary};
    route.open = true;
    route.responses = {{200, "Yes", "application/json", schema_ref("Health")},
                       {400, "A query parameter", "application/json", schema_ref("Error")},
                       {503, "No, and why", "application/json", schema_ref("Health")}};
    route.handler = [&service, answer, good](const HttpRequest&, const PathParameters&) {
      const HealthView health = service.health();
      return answer(good(health), health);
    };
    router.add(std::move(route));
  };
  add("/livez", "getLive", "Whether the process works at all",
      [](const HealthView& health) { return health.live; });
  add("/readyz", "getReady", "Whether a job submitted now would run",
      [](const HealthView& health) { return health.ready; });
}

}  // namespace

void add_service_routes(Router& router, JobService& service, HttpMetrics& metrics) {
  add_models(router, service);
  add_cluster(router, service);
  add_health(router, service);
  Route route{.method = "GET",
              .pattern = "/metrics",
              .handler = {},
              .operation_id = "getMetrics",
              .summary = "Numbers in Prometheus' text format"};
  route.responses = responses({200, "The numbers", "text/plain", Json()}, {});
  route.handler = [&service, &metrics](const HttpRequest&, const PathParameters&) {
    HttpResponse response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = metrics.text(service.metrics());
    return response;
  };
  router.add(std::move(route));
}

}  // namespace seamwright::coordinator::http

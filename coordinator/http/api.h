// The service's HTTP API, free of sockets: takes a request, checks who sends it and what it says,
// and answers it from the JobService.
// Threads: safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/api_keys.h"
#include "coordinator/http/http_metrics.h"
#include "coordinator/http/message.h"
#include "coordinator/http/router.h"
#include "coordinator/job_service.h"

namespace seamwright::coordinator::http {

struct ApiOptions {
  ApiKeys keys;
  // Names by which browsers may reach a service without keys, beside localhost and addresses: a
  // page of another name is refused, so that no web site can drive a service on its visitor's
  // machine.
  std::vector<std::string> allowed_hosts;
  // Endpoints beside the API's own (the dashboard's files).
  std::vector<Route> extra_routes;
};

class Api {
 public:
  Api(JobService& service, ApiOptions options);
  ~Api();

  // When the header is there: an answer that refuses it, or the most bytes its body may have.
  struct Admission {
    std::optional<HttpResponse> refusal;
    std::uint64_t max_body_bytes = 0;
    bool waits = false;  // handle() may wait for the disk or another process
  };
  // Fills path, query and owner of the request from its target and headers.
  Admission admit(HttpRequest& request);
  // Answers an admitted request. Never throws.
  HttpResponse handle(const HttpRequest& request);

  HttpMetrics& metrics();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Groups of endpoints.
void add_video_routes(Router& router, JobService& service, ApiKeys& keys);
void add_video_live_routes(Router& router, JobService& service);
void add_service_routes(Router& router, JobService& service, HttpMetrics& metrics);

inline constexpr std::string_view kVideoIdPattern = "^video_[0-9a-f]{32}$";

HttpResponse json_response(const nlohmann::json& body, int status = 200);
// Refuses ids that the service cannot have given. Throws ApiError 404.
const std::string& checked_id(const PathParameters& parameters);

}  // namespace seamwright::coordinator::http

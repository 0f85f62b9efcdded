#include "coordinator/http/api.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "coordinator/http/errors.h"
#include "coordinator/http/openapi.h"
#include "coordinator/http/url.h"
#include "media/metadata.h"

namespace seamwright::coordinator::http {
namespace {

constexpr std::string_view kCookie = "seamwright_key=";

ApiError forbidden(const std::string& code, const std::string& message) {
  return {403, "permission_error", code, "", message};
}

// The dashboard escapes what a cookie may not hold, such as the '=' of base64.
std::string cookie_value(std::string_view text) {
  try {
    return percent_decode(text, /*plus_is_space=*/false);
  } catch (const ApiError&) {
    return std::string(text);
  }
}

// "Bearer KEY", or the cookie that the dashboard sets for what cannot send headers (<video>,
// EventSource). It is SameSite=Strict, so no other site's page brings it along.
std::string presented_key(const HttpRequest& request) {
  std::string_view authorization = request.header("authorization");
  if (!authorization.empty()) {
    constexpr std::string_view kBearer = "bearer ";
    const bool bearer = authorization.size() > kBearer.size() &&
                        std::equal(kBearer.begin(), kBearer.end(), authorization.begin(),
                                   [](char a, char b) { return a == (b | 0x20); });
    return std::string(bearer ? authorization.substr(kBearer.size()) : std::string_view());
  }
  const std::string_view cookies = request.header("cookie");
  for (std::size_t at = 0; at < cookies.size();) {
    const auto end = std::min(cookies.find(';', at), cookies.size());
    std::string_view one = cookies.substr(at, end - at);
    while (one.starts_with(' ')) one.remove_prefix(1);
    if (one.starts_with(kCookie)) return cookie_value(one.substr(kCookie.size()));
    at = end + 1;
  }
  return {};
}

// Host without its port.
std::string host_name(std::string_view host) {
  const auto colon = host.starts_with('[') ? host.find(':', host.find(']')) : host.find(':');
  return std::string(host.substr(0, colon));
}

bool is_address(const std::string& host) {
  return host.starts_with('[') ||
         (!host.empty() && host.find_first_not_of("0123456789.") == std::string::npos);
}

}  // namespace

struct Api::State {
  State(JobService& s, ApiOptions o) : service(s), options(std::move(o)) {
    for (Route& route : options.extra_routes) router.add(route);
    add_video_routes(router, service, options.keys);
    add_video_live_routes(router, service);
    add_service_routes(router, service, metrics);
    add_openapi_route(router, !options.keys.empty());
  }

  // A web page of another origin must not drive the service with its visitor's rights.
  void check_origin(const HttpRequest& request) const {
    const std::string& origin = request.header("origin");
    const std::string& host = request.header("host");
    if (!origin.empty()) {
      const auto scheme = origin.find("://");
      if (scheme == std::string::npos || origin.substr(scheme + 3) != host) {
        throw forbidden("cross_origin", "requests from pages of another origin are refused");
      }
    }
    if (!options.keys.empty() || host.empty()) return;
    const std::string name = host_name(host);
    const auto& allowed = options.allowed_hosts;
    if (name != "localhost" && !is_address(name) &&
        std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
      throw forbidden("unknown_host",
                      fmt::format("this service has no API keys and is not known as '{}'; use its "
                                  "address or localhost, or start it with --allowed-host {} or "
                                  "with --api-key-file",
                                  name, name));
    }
  }

  void check_key(HttpRequest& request, const Route& route) {
    if (options.keys.empty() || route.open) return;
    const std::string presented = presented_key(request);
    const ApiKey* key = presented.empty() ? nullptr : options.keys.find(presented);
    if (key == nullptr) {
      throw ApiError(401, "authentication_error", "invalid_api_key", "",
                     presented.empty() ? "an API key is missing: send Authorization: Bearer KEY"
                                       : "the API key is wrong");
    }
    if (route.admin && !key->admin) {
      throw forbidden("admin_only", "this needs an API key with the word admin");
    }
    if (const int wait = options.keys.take_request(*key, std::chrono::steady_clock::now())) {
      ApiError refusal(429, "rate_limit_error", "rate_limit_exceeded", "",
                       fmt::format("the key '{}' has {} requests a minute; wait {} s", key->name,
                                   key->requests_per_minute, wait));
      refusal.retry_after_s = wait;
      throw refusal;
    }
    request.owner = key->admin ? "" : key->name;
  }

  HttpResponse refuse(const HttpRequest& request) const {
    HttpResponse response = error_response(to_api_error(std::current_exception()));
    if (response.status == 405) {
      response.headers.emplace_back("allow", router.allowed_methods(request.path));
    }
    return response;
  }

  JobService& service;
  ApiOptions options;
  HttpMetrics metrics;
  Router router;
};

Api::Api(JobService& service, ApiOptions options)
    : state_(std::make_unique<State>(service, std::move(options))) {}
Api::~Api() = default;

HttpMetrics& Api::metrics() { return state_->metrics; }

Api::Admission Api::admit(HttpRequest& request) {
  try {
    Target target = parse_target(request.target);
    request.path = std::move(target.path);
    request.query = std::move(target.query);
    state_->check_origin(request);
    const RouteMatch match = state_->router.match(request.method, request.path);
    state_->check_key(request, *match.route);
    check_query(*match.route, request);
    return {std::nullopt, match.route->max_body_bytes, match.route->waits};
  } catch (...) {
    return {state_->refuse(request), 0, false};
  }
}

HttpResponse Api::handle(const HttpRequest& request) {
  std::string pattern;
  HttpResponse response;
  try {
    const RouteMatch match = state_->router.match(request.method, request.path);
    pattern = match.route->pattern;
    response = match.route->handler(request, match.parameters);
  } catch (...) {
    response = state_->refuse(request);
  }
  response.route = pattern;
  return response;
}

HttpResponse json_response(const nlohmann::json& body, int status) {
  HttpResponse response;
  response.status = status;
  response.body = media::to_text(body);
  return response;
}

const std::string& checked_id(const PathParameters& parameters) {
  const std::string& id = parameters.at("video_id");
  constexpr std::string_view kPrefix = "video_";
  const bool known = id.size() == kPrefix.size() + 32 && id.starts_with(kPrefix) &&
                     id.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string::npos;
  if (!known) {
    throw ApiError(404, "invalid_request_error", "not_found", "",
                   fmt::format("there is no video '{}'", id));
  }
  return id;
}

}  // namespace seamwright::coordinator::http

#include "coordinator/http/router.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "coordinator/http/errors.h"
#include "coordinator/http/url.h"

namespace seamwright::coordinator::http {
namespace {

bool is_parameter(const std::string& segment) { return segment.starts_with('{'); }

std::optional<PathParameters> match_path(const Route& route, const std::vector<std::string>& path) {
  if (route.segments.size() != path.size()) return std::nullopt;
  PathParameters parameters;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const std::string& segment = route.segments[i];
    if (is_parameter(segment)) {
      parameters[segment.substr(1, segment.size() - 2)] = path[i];
    } else if (segment != path[i]) {
      return std::nullopt;
    }
  }
  return parameters;
}

std::optional<int> integer(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void check_value(const QueryParameter& parameter, const std::string& value) {
  const auto& schema = parameter.schema;
  if (schema.contains("enum")) {
    const auto allowed = schema.at("enum").get<std::vector<std::string>>();
    if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
      throw bad_field(
          parameter.name, "invalid_value",
          fmt::format("{} must be one of: {}", parameter.name, fmt::join(allowed, " ")));
    }
  } else if (schema.at("type") == "integer") {
    const int low = schema.at("minimum"), high = schema.at("maximum");
    const auto number = integer(value);
    if (!number || *number < low || *number > high) {
      throw bad_field(
          parameter.name, "invalid_value",
          fmt::format("{} must be a whole number from {} to {}", parameter.name, low, high));
    }
  }
}

}  // namespace

void Router::add(Route route) {
  route.segments = parse_target(route.pattern).path;
  route.waits = route.waits || route.method != "GET";
  routes_.push_back(std::move(route));
}

// A path that is spelled out, such as /v1/videos/edits, is that one and not an {id}.
bool Router::is_spelled_out(const std::vector<std::string>& path) const {
  return std::any_of(routes_.begin(), routes_.end(),
                     [&](const Route& route) { return route.segments == path; });
}

RouteMatch Router::match(const std::string& method, const std::vector<std::string>& path) const {
  const std::string wanted = method == "HEAD" ? "GET" : method;
  const bool literal = is_spelled_out(path);
  for (const Route& route : routes_) {
    if (route.method != wanted || (literal && route.segments != path)) continue;
    if (auto parameters = match_path(route, path)) return {&route, std::move(*parameters)};
  }
  const std::string allowed = allowed_methods(path);
  if (allowed.empty()) {
    throw ApiError(404, "invalid_request_error", "not_found", "",
                   fmt::format("there is nothing at /{}; /openapi.json lists what there is",
                               fmt::join(path, "/")));
  }
  throw ApiError(405, "invalid_request_error", "method_not_allowed", "",
                 fmt::format("the method must be one of: {}", allowed));
}

std::string Router::allowed_methods(const std::vector<std::string>& path) const {
  std::set<std::string> methods;
  const bool literal = is_spelled_out(path);
  for (const Route& route : routes_) {
    if (!match_path(route, path) || (literal && route.segments != path)) continue;
    methods.insert(route.method);
    if (route.method == "GET") methods.insert("HEAD");
  }
  return fmt::format("{}", fmt::join(methods, ", "));
}

void check_query(const Route& route, const HttpRequest& request) {
  for (const auto& [name, value] : request.query) {
    const auto known = std::find_if(route.query.begin(), route.query.end(),
                                    [&](const auto& p) { return p.name == name; });
    if (known == route.query.end()) {
      std::vector<std::string> names;
      for (const auto& parameter : route.query) names.push_back(parameter.name);
      throw bad_field(
          name, "unknown_parameter",
          fmt::format("unknown query parameter '{}'; known here: {}", name,
                      names.empty() ? "none" : fmt::format("{}", fmt::join(names, " "))));
    }
    check_value(*known, value);
  }
}

std::string query_text(const HttpRequest& request, const std::string& name,
                       const std::string& fallback) {
  const auto found = request.query.find(name);
  return found == request.query.end() ? fallback : found->second;
}

int query_integer(const HttpRequest& request, const std::string& name, int fallback) {
  const auto found = request.query.find(name);
  return found == request.query.end() ? fallback : integer(found->second).value_or(fallback);
}

}  // namespace seamwright::coordinator::http

// The table of endpoints: which handler answers which method and path, and what the API document
// says about it. The same entries check query parameters and write /openapi.json.
// Threads: built once, then only read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/http/message.h"

namespace seamwright::coordinator::http {

using PathParameters = std::map<std::string, std::string>;
using Handler = std::function<HttpResponse(const HttpRequest&, const PathParameters&)>;

struct QueryParameter {
  std::string name, description;
  nlohmann::json schema;  // JSON Schema; enum and integer bounds are checked
};

struct DocumentedResponse {
  int status = 200;
  std::string description, content_type = "application/json";
  nlohmann::json schema;  // null = bytes or text
};

struct Route {
  std::string method, pattern;  // "/v1/videos/{video_id}/content"
  Handler handler;
  std::string operation_id, summary;
  std::vector<QueryParameter> query = {};
  nlohmann::json body_schema = {};  // null = the request has no body
  bool has_form_body = false;       // multipart as well as JSON
  nlohmann::json form_schema = {};  // where it says something else than body_schema
  std::vector<DocumentedResponse> responses = {};
  std::uint64_t max_body_bytes = 0;
  bool waits = false;                      // of GETs; whatever changes something may wait anyway
  bool open = false;                       // needs no API key
  bool admin = false;                      // needs a key with the word admin, where there are keys
  bool documented = true;                  // appears in /openapi.json
  std::vector<std::string> segments = {};  // of the pattern; filled by the router
};

struct RouteMatch {
  const Route* route = nullptr;
  PathParameters parameters;
};

class Router {
 public:
  // Fixed words win over {parameters}, for every method.
  void add(Route route);
  // Throws ApiError 404, or 405 when the path exists with other methods (listed by
  // allowed_methods).
  RouteMatch match(const std::string& method, const std::vector<std::string>& path) const;
  // "GET, HEAD, POST"; "" = no such path.
  std::string allowed_methods(const std::vector<std::string>& path) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  bool is_spelled_out(const std::vector<std::string>& path) const;

  std::vector<Route> routes_;
};

// Refuses unknown parameters and values outside their schema. Throws ApiError 400.
void check_query(const Route& route, const HttpRequest& request);
// A checked parameter's value, or the fallback when it is not given.
std::string query_text(const HttpRequest& request, const std::string& name,
                       const std::string& fallback);
int query_integer(const HttpRequest& request, const std::string& name, int fallback);

}  // namespace seamwright::coordinator::http

#include "coordinator/dashboard/dashboard.h"

#include <fmt/core.h>

#include <string>

#include "base/error.h"
#include "base/sha256.h"
#include "coordinator/dashboard/embedded_files.h"

namespace seamwright::coordinator {
namespace {

// Nothing from elsewhere may run in the page, and no other page may frame it.
constexpr char kPolicy[] =
    "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

std::string type_of(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".svg")) return "image/svg+xml";
  fail(ErrorCode::kInternal, "dashboard file {} has no type", name);
}

http::Route route_of(const EmbeddedFile& file, const std::string& pattern) {
  const auto digest = sha256(std::as_bytes(std::span(file.bytes.data(), file.bytes.size())));
  const std::string tag = fmt::format("\"{}\"", to_hex(std::span(digest).first(12)));
  http::Route route;
  route.method = "GET";
  route.pattern = pattern;
  route.open = true;
  route.documented = false;
  route.handler = [file, tag, type = type_of(file.name)](const http::HttpRequest& request,
                                                         const http::PathParameters&) {
    http::HttpResponse response;
    response.content_type = type;
    response.headers = {{"etag", tag},
                        {"cache-control", "no-cache"},
                        {"content-security-policy", kPolicy},
                        {"referrer-policy", "no-referrer"}};
    const bool same = request.header("if-none-match") == tag;
    response.status = same ? 304 : 200;
    response.body = same ? std::string() : std::string(file.bytes);
    return response;
  };
  return route;
}

}  // namespace

std::vector<http::Route> dashboard_routes() {
  std::vector<http::Route> routes;
  for (const EmbeddedFile& file : embedded_files()) {
    const bool page = file.name == "index.html";
    routes.push_back(route_of(file, page ? "/" : fmt::format("/dashboard/{}", file.name)));
  }
  return routes;
}

}  // namespace seamwright::coordinator

#include "coordinator/http/request_head.h"

#include <fmt/core.h>

#include <atomic>
#include <boost/asio/error.hpp>
#include <boost/beast/http/error.hpp>
#include <random>
#include <set>

#include "coordinator/http/errors.h"
#include "coordinator/http/url.h"

namespace seamwright::coordinator::http {
namespace {

namespace bhttp = boost::beast::http;

constexpr char kInvalid[] = "invalid_request_error";
constexpr std::size_t kMaxHeaders = 100;

bool only_once(const std::string& name) {
  static const std::set<std::string> kNames{"host",  "authorization",  "content-type",   "origin",
                                            "range", "content-length", "idempotency-key"};
  return kNames.contains(name);
}

HttpResponse bad_head(const std::string& message) {
  return error_response(bad_request("bad_header", message));
}

}  // namespace

std::string new_request_id() {
  static const std::uint64_t kProcess = [] {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32) | device();
  }();
  static std::atomic<std::uint64_t> counter{0};
  return fmt::format("req_{:016x}{:08x}", kProcess, ++counter);
}

std::optional<HttpResponse> read_head(const bhttp::request_header<>& head, HttpRequest& request) {
  request.id = new_request_id();
  request.method = std::string(head.method_string());
  request.target = std::string(head.target());
  std::size_t count = 0;
  for (const auto& field : head) {
    if (++count > kMaxHeaders) return bad_head("there are more than 100 header fields");
    const std::string name = lower({field.name_string().data(), field.name_string().size()});
    const std::string value(field.value().data(), field.value().size());
    auto [entry, fresh] = request.headers.emplace(name, value);
    if (fresh) continue;
    if (only_once(name)) return bad_head(fmt::format("the header field {} is given twice", name));
    entry->second += ", " + value;
  }
  if (head.version() >= 11 && request.header("host").empty()) {
    return bad_head("the header field Host is missing");
  }
  const std::string coding = lower(request.header("transfer-encoding"));
  if (!coding.empty() && coding != "chunked") {
    return bad_head("the transfer encoding must be chunked or none");
  }
  return std::nullopt;
}

std::optional<HttpResponse> read_error(boost::beast::error_code error) {
  if (error == bhttp::error::header_limit) {
    return error_response({431, kInvalid, "header_too_large", "", "the header is too large"});
  }
  if (error == bhttp::error::body_limit) {
    return error_response({413, kInvalid, "body_too_large", "", "the body is too large"});
  }
  if (error == bhttp::error::end_of_stream || error == bhttp::error::partial_message) {
    return std::nullopt;
  }
  if (error.category() == bhttp::make_error_code(bhttp::error::bad_value).category()) {
    return error_response(
        bad_request("bad_http", "this is not a valid HTTP/1.1 request: " + error.message()));
  }
  return std::nullopt;
}

HttpResponse too_large(std::uint64_t max_bytes) {
  return error_response({413, kInvalid, "body_too_large", "",
                         max_bytes == 0
                             ? std::string("this endpoint takes no body")
                             : fmt::format("the body may have at most {} bytes", max_bytes)});
}

HttpResponse too_busy() {
  ApiError busy(503, "server_error", "busy", "", "too many uploads at once; try again");
  busy.retry_after_s = 2;
  return error_response(busy);
}

}  // namespace seamwright::coordinator::http

// The bytes of one request, read as the server reads them and answered from a service in memory:
// never a 500, and every refusal in the API's shape.
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <nlohmann/json.hpp>

#include "coordinator/http/api.h"
#include "coordinator/http/request_head.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/coordinator/http/fake_service.h"

namespace {

using namespace seamwright::coordinator;

void check(const http::HttpResponse& response) {
  if (response.status == 500) std::abort();
  if (response.status < 400 || response.status == 503) return;
  const auto body = nlohmann::json::parse(std::get<std::string>(response.body));
  if (body.at("error").size() != 4) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static FakeService service;
  static http::Api api(service, {});
  namespace bhttp = boost::beast::http;
  bhttp::request_parser<bhttp::string_body> parser;
  parser.header_limit(16 * 1024);
  parser.body_limit(1 << 20);
  parser.eager(true);
  boost::beast::error_code error;
  parser.put(boost::asio::buffer(data, size), error);
  if (error && error != bhttp::error::need_more) {
    if (auto refusal = http::read_error(error)) check(*refusal);
    return 0;
  }
  if (!parser.is_header_done()) return 0;
  http::HttpRequest request;
  if (auto refusal = http::read_head(parser.get().base(), request)) {
    check(*refusal);
    return 0;
  }
  auto admission = api.admit(request);
  if (admission.refusal) {
    check(*admission.refusal);
    return 0;
  }
  request.body = parser.get().body();
  check(api.handle(request));
  return 0;
}

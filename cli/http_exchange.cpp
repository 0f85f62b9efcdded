#include "cli/http_exchange.h"

#include <fmt/core.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>

#include "base/error.h"
#include "base/version.h"
#include "coordinator/http/url.h"

namespace seamwright::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

constexpr auto kConnectTime = std::chrono::seconds(10);
// Longer than the server's "still here" of event streams; a growing video may pause for longer, but
// commands do not watch one.
constexpr auto kSilence = std::chrono::seconds(60);

HttpAnswer answer_of(const bhttp::response_parser<bhttp::buffer_body>& parser) {
  HttpAnswer answer;
  answer.status = parser.get().result_int();
  for (const auto& field : parser.get()) {
    const std::string_view name(field.name_string().data(), field.name_string().size());
    answer.headers[coordinator::http::lower(name)] =
        std::string(field.value().data(), field.value().size());
  }
  if (const auto length = parser.content_length()) answer.content_length = *length;
  return answer;
}

bhttp::request<bhttp::string_body> request_of(const HttpAsk& ask, const std::string& host,
                                              const std::string& key) {
  bhttp::request<bhttp::string_body> request;
  request.version(11);
  request.method_string(ask.method);
  request.target(ask.target);
  request.set(bhttp::field::host, host);
  request.set(bhttp::field::user_agent, fmt::format("seamwright/{}", kVersion));
  if (!key.empty()) request.set(bhttp::field::authorization, fmt::format("Bearer {}", key));
  for (const auto& [name, value] : ask.headers) request.set(name, value);
  request.body() = ask.body;
  request.keep_alive(false);
  request.prepare_payload();
  return request;
}

struct Call {
  const std::string& host;
  const std::string& port;
  bhttp::request<bhttp::string_body> request;
  const std::function<bool(std::string_view)>& takes;
  const std::function<void(const HttpAnswer&)>& starts;
  HttpAnswer answer;
};

asio::awaitable<void> exchange(Call& call) {
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  beast::tcp_stream stream(executor);
  const auto places = co_await resolver.async_resolve(call.host, call.port, asio::use_awaitable);
  stream.expires_after(kConnectTime);
  co_await stream.async_connect(places, asio::use_awaitable);
  stream.expires_after(kSilence);
  co_await bhttp::async_write(stream, call.request, asio::use_awaitable);
  beast::flat_buffer buffer;
  bhttp::response_parser<bhttp::buffer_body> parser;
  parser.body_limit(boost::none);
  co_await bhttp::async_read_header(stream, buffer, parser, asio::use_awaitable);
  call.answer = answer_of(parser);
  if (call.starts) call.starts(call.answer);
  std::vector<char> piece(64 * 1024);
  while (!parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    stream.expires_after(kSilence);
    beast::error_code error;
    co_await bhttp::async_read_some(stream, buffer, parser,
                                    asio::redirect_error(asio::use_awaitable, error));
    if (error && error != bhttp::error::need_buffer) throw beast::system_error(error);
    const std::size_t count = piece.size() - parser.get().body().size;
    if (count > 0 && !call.takes({piece.data(), count})) co_return;
  }
}

}  // namespace

std::string HttpAnswer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

HttpExchange::HttpExchange(const std::string& url, std::string api_key)
    : url_(url), api_key_(std::move(api_key)) {
  constexpr std::string_view kScheme = "http://";
  std::string rest = url.starts_with(kScheme) ? url.substr(kScheme.size()) : "";
  if (rest.ends_with('/')) rest.pop_back();
  const auto bracket = rest.starts_with('[') ? rest.find(']') : 0;
  const auto colon = bracket == std::string::npos ? bracket : rest.find(':', bracket);
  host_ = rest.substr(0, colon);
  port_ = colon == std::string::npos ? "80" : rest.substr(colon + 1);
  if (host_.starts_with('[') && host_.ends_with(']')) host_ = host_.substr(1, host_.size() - 2);
  require(!host_.empty() && !port_.empty() &&
              port_.find_first_not_of("0123456789") == std::string::npos &&
              host_.find('/') == std::string::npos,
          "the server's address is '{}', but must be http://HOST:PORT", url);
}

HttpAnswer HttpExchange::run(const HttpAsk& ask, const std::function<bool(std::string_view)>& takes,
                             const std::function<void(const HttpAnswer&)>& starts) {
  const bool v6 = host_.find(':') != std::string::npos;
  const std::string name =
      v6 ? fmt::format("[{}]:{}", host_, port_) : fmt::format("{}:{}", host_, port_);
  Call call{host_, port_, request_of(ask, name, api_key_), takes, starts, {}};
  asio::io_context io;
  std::exception_ptr failure;
  asio::co_spawn(io, exchange(call), [&](const std::exception_ptr& e) { failure = e; });
  io.run();
  if (!failure) return call.answer;
  try {
    std::rethrow_exception(failure);
  } catch (const boost::system::system_error& error) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("the service at {} cannot be reached: {}; start it with seamwright "
                            "serve, or give --server",
                            url_, error.code().message()),
                std::source_location::current(), /*retryable=*/true);
  }
}

}  // namespace seamwright::cli

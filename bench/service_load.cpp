#include "bench/service_load.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cmath>
#include <optional>
#include <random>

namespace seamwright::bench {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

constexpr std::chrono::seconds kPatience{60};

asio::ip::tcp::endpoint endpoint_of(std::uint16_t port) {
  return {asio::ip::address_v4::loopback(), port};
}

std::string request_text(const std::string& method, const std::string& target,
                         const std::string& body = "") {
  std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, target);
  if (method == "POST") {
    text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  }
  return text + "\r\n" + body;
}

struct Answer {
  int status = 0;  // 0: none came
  std::string body;
};

// A keep-alive connection that connects again when it has to.
class Client {
 public:
  explicit Client(std::uint16_t port) : port_(port) {}

  asio::awaitable<Answer> ask(std::string text) {
    Answer answer;
    beast::error_code error;
    const auto token = [&error] { return asio::redirect_error(asio::use_awaitable, error); };
    if (!stream_) {
      stream_.emplace(co_await asio::this_coro::executor);
      stream_->expires_after(kPatience);
      co_await stream_->async_connect(endpoint_of(port_), token());
      buffer_.clear();
    }
    stream_->expires_after(kPatience);
    if (!error) co_await asio::async_write(*stream_, asio::buffer(text), token());
    bhttp::response_parser<bhttp::string_body> parser;
    parser.body_limit(std::uint64_t{64} << 20U);
    if (!error) co_await bhttp::async_read(*stream_, buffer_, parser, token());
    if (error) {
      stream_.reset();
      co_return answer;
    }
    answer.status = static_cast<int>(parser.get().result_int());
    answer.body = std::move(parser.get().body());
    if (!parser.get().keep_alive()) stream_.reset();
    co_return answer;
  }

 private:
  std::uint16_t port_;
  std::optional<beast::tcp_stream> stream_;
  beast::flat_buffer buffer_;
};

asio::awaitable<void> pause_for(Clock::duration time) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(time);
  co_await timer.async_wait(asio::use_awaitable);
}

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

class Load {
 public:
  explicit Load(const LoadOptions& options)
      : options_(options), end_(Clock::now() + options.length) {}

  LoadResult run() {
    for (int i = 0; i < options_.pollers; ++i) asio::co_spawn(io_, poll(i), asio::detached);
    for (int i = 0; i < options_.streams; ++i) asio::co_spawn(io_, follow(), asio::detached);
    asio::co_spawn(io_, submit(), asio::detached);
    io_.run_until(end_ + kPatience);
    return std::move(result_);
  }

 private:
  void note_wrong(const std::string& what) {
    if (result_.wrong++ == 0) result_.first_wrong = what;
  }

  // Every fourth question is about the job that runs.
  asio::awaitable<void> poll(int number) {
    co_await pause_for(options_.poll_interval * number / std::max(1, options_.pollers));
    Client client(options_.port);
    std::minstd_rand random(static_cast<unsigned>(number) + 1);
    while (Clock::now() < end_) {
      const auto begin = Clock::now();
      const bool running = random() % 4 == 0 || options_.ids.empty();
      const std::string id =
          running ? options_.watched : options_.ids[random() % options_.ids.size()];
      const auto answer = co_await client.ask(request_text("GET", "/v1/videos/" + id));
      result_.status.add(ms_since(begin));
      if (answer.status != 200 || Json::parse(answer.body).at("id") != id) {
        note_wrong(fmt::format("status of {}: {} {}", id, answer.status, answer.body));
      }
      co_await pause_for(begin + options_.poll_interval - Clock::now());
    }
  }

  asio::awaitable<void> submit() {
    Client client(options_.port);
    const auto body = options_.submission.dump();
    while (Clock::now() < end_) {
      const auto begin = Clock::now();
      const auto answer = co_await client.ask(request_text("POST", "/v1/videos", body));
      result_.submit.add(ms_since(begin));
      if (answer.status == 200) {
        result_.acknowledged.push_back(Json::parse(answer.body).at("id"));
      } else {
        note_wrong(fmt::format("submit: {} {}", answer.status, answer.body));
      }
      co_await pause_for(begin + options_.submit_interval - Clock::now());
    }
  }

  // Counts events until the end; a stream that breaks off before is wrong.
  asio::awaitable<void> follow() {
    beast::tcp_stream stream(co_await asio::this_coro::executor);
    beast::error_code error;
    const auto token = [&error] { return asio::redirect_error(asio::use_awaitable, error); };
    co_await stream.async_connect(endpoint_of(options_.port), token());
    const auto text = request_text("GET", "/v1/videos/" + options_.watched + "/events");
    if (!error) co_await asio::async_write(stream, asio::buffer(text), token());
    std::string seen;
    std::array<char, 16384> piece{};
    while (!error && Clock::now() < end_) {
      stream.expires_at(end_);
      const auto got = co_await stream.async_read_some(asio::buffer(piece), token());
      seen.append(piece.data(), got);
      for (auto at = seen.find("\nevent: "); at != std::string::npos;
           at = seen.find("\nevent: ", at + 1)) {
        ++result_.events;
      }
      seen.erase(0, seen.size() - std::min<std::size_t>(seen.size(), 7));
    }
    if (Clock::now() < end_) note_wrong("an event stream ended: " + error.message());
  }

  const LoadOptions& options_;
  const Clock::time_point end_;
  asio::io_context io_{1};
  LoadResult result_;
};

class Slow {
 public:
  explicit Slow(const SlowOptions& options)
      : options_(options), end_(Clock::now() + options.length) {}

  SlowResult run() {
    for (int i = 0; i < options_.connections; ++i) asio::co_spawn(io_, dawdle(i), asio::detached);
    asio::co_spawn(io_, ask_livez(), asio::detached);
    io_.run_until(end_ + kPatience);
    return result_;
  }

 private:
  asio::awaitable<void> dawdle(int number) {
    co_await pause_for(std::chrono::seconds(1) * number / options_.connections);
    const std::string text = request_text("GET", "/livez");
    while (Clock::now() < end_) {
      beast::tcp_stream stream(co_await asio::this_coro::executor);
      beast::error_code error;
      const auto token = [&error] { return asio::redirect_error(asio::use_awaitable, error); };
      co_await stream.async_connect(endpoint_of(options_.port), token());
      if (error) {
        ++result_.wrong;
        co_return;
      }
      result_.most_open = std::max(result_.most_open, ++open_);
      // Never the whole header: the last line end does not come.
      for (std::size_t at = 0; !error && at + 4 < text.size() && Clock::now() < end_; ++at) {
        co_await asio::async_write(stream, asio::buffer(text.data() + at, 1), token());
        co_await pause_for(std::chrono::seconds(1));
      }
      --open_;
      if (error) ++result_.closed_by_server;
    }
  }

  asio::awaitable<void> ask_livez() {
    while (Clock::now() < end_) {
      Client client(options_.port);
      const auto begin = Clock::now();
      const auto answer = co_await client.ask(request_text("GET", "/livez"));
      result_.live.add(ms_since(begin));
      if (answer.status != 200) ++result_.wrong;
      co_await pause_for(std::chrono::milliseconds(20));
    }
  }

  const SlowOptions& options_;
  const Clock::time_point end_;
  asio::io_context io_{1};
  SlowResult result_;
  int open_ = 0;
};

Json ask_json(std::uint16_t port, std::string text) {
  asio::io_context io(1);
  Json result;
  Client client(port);
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        const auto answer = co_await client.ask(text);
        if (answer.status == 200) result = Json::parse(answer.body, nullptr, false);
      },
      asio::detached);
  io.run();
  return result.is_discarded() ? Json() : result;
}

}  // namespace

double Latencies::quantile(double share) const {
  if (ms_.empty()) return 0;
  auto sorted = ms_;
  std::sort(sorted.begin(), sorted.end());
  const auto at = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(at, 1, sorted.size()) - 1];
}

Json Latencies::json() const {
  return {{"count", count()},
          {"p50_ms", quantile(0.5)},
          {"p99_ms", quantile(0.99)},
          {"max_ms", quantile(1)}};
}

LoadResult run_load(const LoadOptions& options) { return Load(options).run(); }
SlowResult run_slow(const SlowOptions& options) { return Slow(options).run(); }

Json get_json(std::uint16_t port, const std::string& target) {
  return ask_json(port, request_text("GET", target));
}

Json post_json(std::uint16_t port, const std::string& target, const Json& body) {
  return ask_json(port, request_text("POST", target, body.dump()));
}

}  // namespace seamwright::bench

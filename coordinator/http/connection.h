// One client's connection: reads requests under limits, writes answers. Private to http/.
// Threads: everything runs on the connection's own strand, what may wait in the pool meanwhile;
// begin_stop() and close() from anywhere.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <memory>

#include "coordinator/http/api.h"
#include "coordinator/http/server.h"

namespace seamwright::coordinator::http {

// What all connections of a server share.
struct ServerShared {
  Api& api;
  ServerLimits limits;
  std::atomic<std::int64_t> body_bytes{0};
  std::atomic<bool> stopping{false};
  // What waits for the disk or a child process runs here, so that the sockets' thread never does.
  boost::asio::thread_pool& waiting_work;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, ServerShared& shared);
  ~Connection();

  // Serves until either side ends it.
  boost::asio::awaitable<void> run();
  void begin_stop();  // ends it when nothing is being answered, streams at once
  void close();
  // Since when it waits for a request; the far future when it does not.
  std::chrono::steady_clock::time_point waiting_since() const;

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Clock = std::chrono::steady_clock;

  boost::asio::awaitable<void> serve();
  boost::asio::awaitable<bool> wait_first_byte(bool first);
  boost::asio::awaitable<bool> serve_one();
  boost::asio::awaitable<HttpResponse> answer(const HttpRequest& request, bool waits);
  boost::asio::awaitable<bool> read_body(Parser& parser, std::uint64_t max_bytes);
  boost::asio::awaitable<void> answer_read_error(boost::beast::error_code error);
  boost::asio::awaitable<bool> write(const HttpRequest& request, HttpResponse response,
                                     bool keep_alive, unsigned version);
  boost::asio::awaitable<bool> write_file(const FileBody& body);
  boost::asio::awaitable<bool> write_stream(BodyStream& body, bool chunked);
  boost::asio::awaitable<void> watch_for_end();
  boost::asio::awaitable<void> linger();
  void set_waiting(bool waiting);

  boost::beast::tcp_stream stream_;
  ServerShared& shared_;
  boost::beast::flat_buffer buffer_;
  boost::asio::steady_timer wake_timer_;
  bool woken_ = false, peer_gone_ = false;
  std::atomic<Clock::rep> waiting_since_;
};

}  // namespace seamwright::coordinator::http

#include "coordinator/http/connection.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <limits>
#include <random>

#include "coordinator/http/errors.h"
#include "coordinator/http/request_head.h"

namespace seamwright::coordinator::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kReadBytes = 16 * 1024, kFileBytes = 128 * 1024;
constexpr std::size_t kLingerBytes = 32 << 20;
constexpr auto kLingerTime = std::chrono::seconds(2);

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Gives back what a body reserved of the server's memory.
class Reservation {
 public:
  explicit Reservation(std::atomic<std::int64_t>& total) : total_(total) {}
  ~Reservation() { total_ -= taken_; }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  bool take(std::int64_t bytes, std::int64_t limit) {
    taken_ = bytes;
    return (total_ += bytes) <= limit;
  }

 private:
  std::atomic<std::int64_t>& total_;
  std::int64_t taken_ = 0;
};

bhttp::response<bhttp::empty_body> head_of(const HttpRequest& request, const HttpResponse& response,
                                           bool keep_alive, unsigned version) {
  bhttp::response<bhttp::empty_body> head;
  head.version(version);
  head.result(static_cast<unsigned>(response.status));
  head.set(bhttp::field::server, "seamwright");
  head.set("x-request-id", request.id);
  head.set("x-content-type-options", "nosniff");
  if (!response.content_type.empty()) {
    head.set(bhttp::field::content_type, response.content_type);
  }
  for (const auto& [name, value] : response.headers) head.insert(name, value);
  head.keep_alive(keep_alive);
  return head;
}

bool has_no_body(int status) { return status == 204 || status == 304; }

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, ServerShared& shared)
    : stream_(std::move(socket)), shared_(shared), wake_timer_(stream_.get_executor()) {
  set_waiting(true);
  beast::error_code ignored;
  stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  shared_.api.metrics().connection_opened();
}

Connection::~Connection() { shared_.api.metrics().connection_closed(); }

void Connection::set_waiting(bool waiting) {
  waiting_since_ =
      waiting ? Clock::now().time_since_epoch().count() : std::numeric_limits<Clock::rep>::max();
}

Connection::Clock::time_point Connection::waiting_since() const {
  return Clock::time_point(Clock::duration(waiting_since_.load()));
}

void Connection::begin_stop() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] {
    self->woken_ = true;
    self->wake_timer_.cancel();
    if (self->waiting_since() != Clock::time_point::max()) self->stream_.close();
  });
}

void Connection::close() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] {
    self->peer_gone_ = true;
    self->wake_timer_.cancel();
    self->stream_.close();
  });
}

asio::awaitable<void> Connection::run() {
  try {
    co_await serve();
  } catch (...) {
    // What still reads for it (watch_for_end) would keep it for as long as the client likes.
    stream_.close();
    throw;
  }
  co_await linger();
}

asio::awaitable<void> Connection::serve() {
  bool first = true;
  while (!shared_.stopping) {
    if (buffer_.size() == 0) {
      const bool there = co_await wait_first_byte(first);
      if (!there) break;
    }
    first = false;
    set_waiting(true);  // for its header
    const bool go_on = co_await serve_one();
    if (!go_on) break;
  }
}

asio::awaitable<bool> Connection::wait_first_byte(bool first) {
  set_waiting(true);
  stream_.expires_after(first ? shared_.limits.header_time : shared_.limits.idle_time);
  auto [error, count] = co_await stream_.async_read_some(buffer_.prepare(kReadBytes), kToken);
  if (error) co_return false;
  buffer_.commit(count);
  co_return true;
}

asio::awaitable<bool> Connection::serve_one() {
  Parser parser;
  parser.header_limit(shared_.limits.header_bytes);
  parser.body_limit(boost::none);  // checked below, when the endpoint is known
  stream_.expires_after(shared_.limits.header_time);
  auto [error, unused] = co_await bhttp::async_read_header(stream_, buffer_, parser, kToken);
  if (error) {
    co_await answer_read_error(error);
    co_return false;
  }
  set_waiting(false);
  HttpRequest request;
  Api::Admission admission;
  if (auto refusal = read_head(parser.get().base(), request)) {
    admission.refusal = std::move(refusal);
  } else {
    admission = shared_.api.admit(request);
  }
  const auto length = parser.content_length();
  const unsigned version = parser.get().version();
  const bool body_follows = parser.chunked() || (length && *length > 0);
  if (!admission.refusal && length && *length > admission.max_body_bytes) {
    admission.refusal = too_large(admission.max_body_bytes);
  }
  Reservation reservation(shared_.body_bytes);
  const auto wanted = static_cast<std::int64_t>(length ? *length : admission.max_body_bytes);
  if (!admission.refusal && body_follows &&
      !reservation.take(wanted, static_cast<std::int64_t>(shared_.limits.body_bytes_in_all))) {
    admission.refusal = too_busy();
  }
  if (admission.refusal) {
    const bool keep = parser.keep_alive() && !body_follows;
    co_return co_await write(request, std::move(*admission.refusal), keep, version);
  }
  if (body_follows) {
    const bool whole = co_await read_body(parser, admission.max_body_bytes);
    if (!whole) co_return false;
  }
  request.body = std::move(parser.get().body());
  const auto start = Clock::now();
  HttpResponse response = co_await answer(request, admission.waits);
  shared_.api.metrics().request_done(response.route, request.method, response.status,
                                     seconds_since(start));
  const bool keep = parser.keep_alive() && !shared_.stopping;
  co_return co_await write(request, std::move(response), keep, version);
}

// Most questions are answered from memory. What changes something waits until it is durable.
asio::awaitable<HttpResponse> Connection::answer(const HttpRequest& request, bool waits) {
  if (!waits) co_return shared_.api.handle(request);
  co_return co_await asio::co_spawn(
      shared_.waiting_work,
      [this, &request]() -> asio::awaitable<HttpResponse> {
        co_return shared_.api.handle(request);
      },
      asio::use_awaitable);
}

asio::awaitable<bool> Connection::read_body(Parser& parser, std::uint64_t max_bytes) {
  parser.body_limit(max_bytes);
  stream_.expires_after(shared_.limits.body_time);
  if (beast::iequals(parser.get()[bhttp::field::expect], "100-continue")) {
    bhttp::response<bhttp::empty_body> go_on(bhttp::status::continue_, 11);
    auto [error, unused] = co_await bhttp::async_write(stream_, go_on, kToken);
    if (error) co_return false;
  }
  auto [error, unused] = co_await bhttp::async_read(stream_, buffer_, parser, kToken);
  if (error) co_await answer_read_error(error);
  co_return !error;
}

asio::awaitable<void> Connection::answer_read_error(beast::error_code error) {
  auto refusal = read_error(error);
  if (!refusal) {
    if (error == beast::error::timeout) shared_.api.metrics().connection_refused("timeout");
    co_return;  // nothing was asked, or nobody is there to read an answer
  }
  HttpRequest request;
  request.id = new_request_id();
  shared_.api.metrics().request_done("", "", refusal->status, 0);
  co_await write(request, std::move(*refusal), false, 11);
}

asio::awaitable<bool> Connection::write(const HttpRequest& request, HttpResponse response,
                                        bool keep_alive, unsigned version) {
  const auto* stream = std::get_if<std::shared_ptr<BodyStream>>(&response.body);
  const bool head_only = request.method == "HEAD" || has_no_body(response.status);
  if (stream != nullptr) keep_alive = false;
  auto head = head_of(request, response, keep_alive, version);
  if (const auto* file = std::get_if<FileBody>(&response.body)) {
    head.content_length(file->length);
  } else if (stream != nullptr) {
    if (version >= 11) head.chunked(true);
  } else if (response.status != 204) {
    head.content_length(std::get<std::string>(response.body).size());
  }
  stream_.expires_after(shared_.limits.write_time);
  if (const auto* text = std::get_if<std::string>(&response.body); text != nullptr && !head_only) {
    bhttp::response<bhttp::string_body> whole(std::move(head.base()), *text);
    auto [error, unused] = co_await bhttp::async_write(stream_, whole, kToken);
    co_return !error && keep_alive;
  }
  bhttp::response_serializer<bhttp::empty_body> serializer(head);
  auto [error, unused] = co_await bhttp::async_write_header(stream_, serializer, kToken);
  if (error) co_return false;
  bool good = true;
  if (head_only) co_return keep_alive;
  if (const auto* file = std::get_if<FileBody>(&response.body)) {
    good = co_await write_file(*file);
  } else if (stream != nullptr) {
    good = co_await write_stream(**stream, version >= 11);
  }
  co_return good&& keep_alive;
}

asio::awaitable<bool> Connection::write_file(const FileBody& body) {
  std::vector<char> piece(kFileBytes);
  for (std::uint64_t done = 0; done < body.length;) {
    const auto wanted = std::min<std::uint64_t>(piece.size(), body.length - done);
    const auto count =
        ::pread(body.file->get(), piece.data(), wanted, static_cast<off_t>(body.offset + done));
    if (count <= 0) co_return false;  // shorter than promised: only ending tells the client
    stream_.expires_after(shared_.limits.write_time);
    const auto part = asio::buffer(piece.data(), static_cast<std::size_t>(count));
    auto [error, unused] = co_await asio::async_write(stream_, part, kToken);
    if (error) co_return false;
    done += static_cast<std::uint64_t>(count);
  }
  co_return true;
}

asio::awaitable<bool> Connection::write_stream(BodyStream& body, bool chunked) {
  shared_.api.metrics().stream_opened();
  const auto closed = [&](void*) { shared_.api.metrics().stream_closed(); };
  const std::unique_ptr<void, decltype(closed)> count(this, closed);
  asio::co_spawn(
      stream_.get_executor(), [self = shared_from_this()] { return self->watch_for_end(); },
      asio::detached);
  // The stream may outlive neither the connection nor a wake-up that is on its way.
  const std::function<void()> wake = [weak = weak_from_this(), executor = stream_.get_executor()] {
    asio::post(executor, [weak] {
      const auto self = weak.lock();
      if (!self) return;
      self->woken_ = true;
      self->wake_timer_.cancel();
    });
  };
  // Past events are read from the store.
  co_await asio::co_spawn(
      shared_.waiting_work,
      [&body, &wake]() -> asio::awaitable<void> {
        body.start(wake);
        co_return;
      },
      asio::use_awaitable);
  while (!peer_gone_ && !shared_.stopping) {
    woken_ = false;
    const BodyStream::Piece piece = body.next();
    if (!piece.bytes.empty()) {
      stream_.expires_after(shared_.limits.write_time);
      beast::error_code failed;
      if (chunked) {
        auto [error, unused] = co_await asio::async_write(
            stream_, bhttp::make_chunk(asio::buffer(piece.bytes)), kToken);
        failed = error;
      } else {
        auto [error, unused] =
            co_await asio::async_write(stream_, asio::buffer(piece.bytes), kToken);
        failed = error;
      }
      if (failed) co_return false;
    }
    if (piece.broken) {
      // Without the last chunk, and for good: the client must not take this for the end.
      stream_.close();
      co_return false;
    }
    if (piece.finished) break;
    if (piece.bytes.empty() && !woken_) {
      wake_timer_.expires_after(body.patience());
      co_await wake_timer_.async_wait(kToken);
    }
  }
  if (!chunked || peer_gone_) co_return false;
  stream_.expires_after(shared_.limits.write_time);
  auto [error, unused] = co_await asio::async_write(stream_, bhttp::make_chunk_last(), kToken);
  co_return !error;
}

// While a stream is written, what the client sends is dropped, and its going is noticed at once.
asio::awaitable<void> Connection::watch_for_end() {
  std::array<char, 1024> dropped{};
  while (true) {
    auto [error, unused] = co_await stream_.socket().async_read_some(asio::buffer(dropped), kToken);
    if (error) break;
  }
  peer_gone_ = true;
  wake_timer_.cancel();
}

// Ends in two steps, so that an answer to a request not read whole still arrives.
asio::awaitable<void> Connection::linger() {
  set_waiting(true);
  beast::error_code ignored;
  if (!stream_.socket().is_open()) co_return;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  if (!peer_gone_ && !shared_.stopping) {
    stream_.expires_after(kLingerTime);
    std::vector<char> dropped(kReadBytes);
    for (std::size_t total = 0; total < kLingerBytes;) {
      auto [error, count] = co_await stream_.async_read_some(asio::buffer(dropped), kToken);
      if (error) break;
      total += count;
    }
  }
  stream_.close();
}

}  // namespace seamwright::coordinator::http

#include "comm/control/connection.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace seamwright::comm {

using boost::system::error_code;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kInputBytes = std::size_t{256} << 10U;

// All that a peer may send before it has proved the token.
ControlLimits handshake_limits() { return {std::size_t{8} << 10U, 0, 8}; }

std::string describe(const error_code& error) {
  if (error == boost::asio::error::eof) return "the other end closed the connection";
  return error.message();
}

}  // namespace

ControlMessage plain_message(const std::string& type) { return {{{"type", type}}, {}}; }

ControlConnection::ControlConnection(Tcp::socket socket, const ControlOptions& options)
    : socket_(std::move(socket)),
      options_(options),
      timer_(socket_.get_executor()),
      parser_(handshake_limits()),
      input_(kInputBytes) {}

void ControlConnection::start() {
  error_code ignored;
  // Heartbeats and progress are small and should not wait for one another's acknowledgement.
  socket_.set_option(Tcp::no_delay(true), ignored);
  last_heard_ = last_sent_ = Clock::now();
  arm_timer(options_.handshake_limit);
  read();
}

void ControlConnection::open() {
  open_ = true;
  parser_.set_limits(options_.limits);
  last_heard_ = Clock::now();
  arm_timer(options_.heartbeat_interval);
}

void ControlConnection::read() {
  socket_.async_read_some(boost::asio::buffer(input_),
                          [self = shared_from_this()](const error_code& error, std::size_t size) {
                            if (error) {
                              self->end({false, describe(error)});
                            } else {
                              self->take_input(size);
                            }
                          });
}

void ControlConnection::take_input(std::size_t size) {
  last_heard_ = Clock::now();
  std::span<const std::byte> bytes(input_.data(), size);
  try {
    // Once we have said goodbye, what still comes is read and dropped: see write().
    while (!bytes.empty() && !finishing_ && !ended()) {
      if (auto message = parser_.feed(bytes)) handle(std::move(*message));
    }
  } catch (const std::exception& error) {
    // A damaged stream, or a handler that gave this peer up.
    const std::string reason = error.what();
    finish({false, reason}, ControlMessage{{{"type", "link.bye"}, {"reason", reason}}, {}});
  }
  if (!ended()) read();
}

void ControlConnection::handle(ControlMessage message) {
  const std::string type = message.type();
  if (open_ && type == "link.ping") return;  // being heard was its point
  if (open_ && type == "link.bye") {
    end({true, message.header.value("reason", std::string("no reason given"))});
    return;
  }
  const auto handler = events_.message;  // a copy: the handler may end us, and with us events_
  handler(std::move(message));
}

bool ControlConnection::send(ControlMessage message) {
  Outgoing outgoing{encode_control_head(message, options_.limits), {}};
  outgoing.payload = std::move(message.payload);
  {
    std::scoped_lock lock(mutex_);
    if (ended_) return false;
    queued_bytes_ += outgoing.size();
    queue_.push_back(std::move(outgoing));
  }
  boost::asio::post(socket_.get_executor(), [self = shared_from_this()] { self->write(); });
  return true;
}

void ControlConnection::write() {
  if (writing_) return;
  const Outgoing* next = nullptr;
  {
    std::scoped_lock lock(mutex_);
    if (ended_) return;
    if (!queue_.empty()) next = &queue_.front();  // stays put: a deque, popped only below
  }
  if (next == nullptr) {
    if (finishing_) {
      // Two steps: closing at once, with input unread, would make the kernel throw away what the
      // other end has not yet read. So say that no more will come, and read until it closes.
      error_code ignored;
      socket_.shutdown(Tcp::socket::shutdown_send, ignored);
    }
    return;
  }
  writing_ = true;
  const std::array<boost::asio::const_buffer, 2> parts = {
      boost::asio::buffer(next->head.data(), next->head.size()),
      boost::asio::buffer(next->payload.data(), next->payload.size())};
  boost::asio::async_write(socket_, parts,
                           [self = shared_from_this()](const error_code& error, std::size_t) {
                             self->writing_ = false;
                             self->last_sent_ = Clock::now();
                             {
                               std::scoped_lock lock(self->mutex_);
                               if (!self->queue_.empty()) {
                                 self->queued_bytes_ -= self->queue_.front().size();
                                 self->queue_.pop_front();
                               }
                             }
                             self->changed_.notify_all();
                             if (error) {
                               self->end({false, describe(error)});
                             } else {
                               self->write();
                             }
                           });
}

void ControlConnection::finish(const ControlEnd& end, std::optional<ControlMessage> goodbye) {
  if (finishing_ || ended()) return;
  finishing_ = end;
  if (goodbye) {
    try {
      send(std::move(*goodbye));
    } catch (const std::exception&) {
      // Called where nobody catches. The peer then learns only that the link ends.
    }
  }
  // A peer that neither reads nor closes must not keep us: the handshake's limit is the patience.
  arm_timer(options_.handshake_limit);
  write();
}

void ControlConnection::end(const ControlEnd& end) {
  {
    std::scoped_lock lock(mutex_);
    if (ended_) return;
    ended_ = true;
    // The front one may be under the pen until its write handler has run.
    while (queue_.size() > (writing_ ? 1U : 0U)) queue_.pop_back();
  }
  timer_.cancel();
  error_code ignored;
  socket_.shutdown(Tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  const Events events = std::exchange(events_, {});
  if (events.ended) events.ended(finishing_ ? *finishing_ : end);
  changed_.notify_all();
}

void ControlConnection::arm_timer(milliseconds delay) {
  timer_.expires_after(delay);
  timer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (!error) self->tick();
  });
}

void ControlConnection::tick() {
  if (ended()) return;
  if (finishing_) {
    end(*finishing_);
    return;
  }
  if (!open_) {
    end({false, "the handshake took too long"});
    return;
  }
  const Clock::time_point now = Clock::now();
  const double silent_s = std::chrono::duration<double>(now - last_heard_).count();
  if (now - last_heard_ > options_.silence_limit) {
    end({false, fmt::format("the other end was silent for {:.1f} s", silent_s)});
    return;
  }
  if (now - last_sent_ >= options_.heartbeat_interval && queued_bytes() == 0) {
    send(plain_message("link.ping"));
  }
  arm_timer(options_.heartbeat_interval);
}

std::size_t ControlConnection::queued_bytes() const {
  std::scoped_lock lock(mutex_);
  return queued_bytes_;
}

bool ControlConnection::ended() const {
  std::scoped_lock lock(mutex_);
  return ended_;
}

void ControlConnection::wait_queued_below(std::size_t bytes) const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_ || queued_bytes_ < bytes; });
}

bool ControlConnection::wait_ended(milliseconds limit) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] { return ended_; });
}

}  // namespace seamwright::comm

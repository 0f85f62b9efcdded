// One TCP connection that carries control messages: reading, writing, heartbeats. Private to
// comm/control.
// Threads: send(), queued_bytes() and wait_* from any thread; everything else on the io_context's
// single thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "comm/control/link.h"

namespace seamwright::comm {

// The version of the link's messages; both sides must speak the same.
inline constexpr int kProtocol = 1;

class ControlConnection : public std::enable_shared_from_this<ControlConnection> {
 public:
  using Tcp = boost::asio::ip::tcp;
  struct Events {
    std::function<void(ControlMessage)> message;   // everything but pings and goodbyes
    std::function<void(const ControlEnd&)> ended;  // once
  };

  ControlConnection(Tcp::socket socket, const ControlOptions& options);

  // Before start(). The connection keeps its events, and what they own, until it has ended.
  void set_events(Events events) { events_ = std::move(events); }
  // Begins to read, under the small limits of a peer that has proved nothing yet.
  void start();
  // The peer has proved itself: full limits, heartbeats instead of the handshake's deadline.
  void open();
  // False once the connection has ended. Throws kInvalidArgument on a message beyond the limits.
  bool send(ControlMessage message);
  // Writes what is queued, then ends; `goodbye` goes last if given, or is left out if it cannot be
  // encoded. Does not throw.
  void finish(const ControlEnd& end, std::optional<ControlMessage> goodbye);
  void end(const ControlEnd& end);

  std::size_t queued_bytes() const;
  bool ended() const;
  // Blocks until less than `bytes` wait to be sent or the connection has ended.
  void wait_queued_below(std::size_t bytes) const;
  // Blocks until the connection has ended; false after `limit`.
  bool wait_ended(std::chrono::milliseconds limit) const;

 private:
  struct Outgoing {
    Bytes head;
    Bytes payload;
    std::size_t size() const { return head.size() + payload.size(); }
  };

  void read();
  void take_input(std::size_t size);
  void handle(ControlMessage message);
  void write();
  void tick();
  void arm_timer(std::chrono::milliseconds delay);

  Tcp::socket socket_;
  const ControlOptions options_;
  boost::asio::steady_timer timer_;
  Events events_;
  ControlParser parser_;
  std::vector<std::byte> input_;
  bool open_ = false;
  bool writing_ = false;
  std::optional<ControlEnd> finishing_;
  std::chrono::steady_clock::time_point last_heard_;
  std::chrono::steady_clock::time_point last_sent_;

  mutable std::mutex mutex_;  // the members below
  mutable std::condition_variable changed_;
  std::deque<Outgoing> queue_;
  std::size_t queued_bytes_ = 0;
  bool ended_ = false;
};

// {"type": type}
ControlMessage plain_message(const std::string& type);

}  // namespace seamwright::comm

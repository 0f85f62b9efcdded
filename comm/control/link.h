// The control link between a gang and its coordinator: authenticated, framed messages over TCP.
// Threads: calls from any thread; handlers run on the link's own thread, one at a time, and must
// not block or wait for the link.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "comm/control/message.h"

namespace seamwright::comm {

struct ControlOptions {
  std::string token;  // shared secret; never crosses the wire
  ControlLimits limits;
  std::chrono::milliseconds handshake_limit{5000};
  // An idle end pings at this interval; an end that hears nothing for longer than the limit gives
  // the other up.
  std::chrono::milliseconds heartbeat_interval{1000};
  std::chrono::milliseconds silence_limit{10000};
  // Bytes waiting to be sent. A client's send() waits for room; a server drops a client that is
  // this far behind.
  std::size_t queued_bytes_max = std::size_t{512} << 20U;
};

// Why a link ended.
struct ControlEnd {
  bool orderly = false;  // the other end said goodbye
  std::string reason;
};

// Types that begin with "link." belong to the link itself.
inline constexpr const char* kControlReserved = "link.";

// The coordinator's end: any number of gangs.
class ControlServer {
 public:
  using ClientId = std::uint64_t;
  struct Handlers {
    // A client has proved the token; `about` is what it says of itself.
    std::function<void(ClientId, const nlohmann::json& about)> joined;
    // An exception thrown here ends that client's link with its message.
    std::function<void(ClientId, ControlMessage)> message;
    std::function<void(ClientId, const ControlEnd&)> left;  // once per joined client
  };

  // Listens at once; port 0 picks a free one. Throws kUnavailable if the address is taken.
  ControlServer(const std::string& host, std::uint16_t port, const ControlOptions& options,
                Handlers handlers);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  std::uint16_t port() const;
  // Queues a message; false if the client is gone.
  bool send(ClientId client, ControlMessage message);
  // Sends what is queued, says goodbye and closes. `left` follows.
  void disconnect(ClientId client, const std::string& reason);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// The gang's end.
class ControlClient {
 public:
  struct Handlers {
    std::function<void(ControlMessage)> message;
    std::function<void(const ControlEnd&)> lost;  // once, unless close() came first
  };

  // Connects and proves the token, within the handshake limit. Throws kUnavailable (retryable) if
  // nobody answers, kInvalidArgument if the token is wrong on either end.
  ControlClient(const std::string& host, std::uint16_t port, const ControlOptions& options,
                const nlohmann::json& about, Handlers handlers);
  ~ControlClient();  // as close() with no patience
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  // Queues a message, in order. Waits for room in the queue unless called from a handler. Throws
  // kUnavailable once the link is lost.
  void send(ControlMessage message);
  std::size_t queued_bytes() const;
  bool connected() const;
  // Sends what is queued and says goodbye; gives up after `patience`. Not from a handler.
  void close(std::chrono::milliseconds patience);
  // Ends the link without a goodbye, as a crash or a cut cable would.
  void drop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace seamwright::comm

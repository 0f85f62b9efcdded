// The HTTP server: sockets, limits and time-outs around the Api.
// Threads: has its own; stop() and the destructor from one outside thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "coordinator/http/api.h"
#include "coordinator/job_service.h"

namespace seamwright::coordinator::http {

// Bounds on what clients can take from the server. Times are for a whole step, not per byte, so a
// client that trickles gains nothing.
struct ServerLimits {
  int threads = 1;          // for sockets and for what is answered from memory
  int waiting_threads = 4;  // for what waits: submits, cancels, past events
  int connections = 4000;   // at the limit, the one that has waited longest without asking goes
  std::uint32_t header_bytes = 16 * 1024;
  std::uint64_t body_bytes_in_all = 64ULL << 20;  // bodies being read at once, all connections
  std::chrono::milliseconds header_time{10'000};  // from a request's first byte to its header's end
  std::chrono::milliseconds body_time{60'000};
  std::chrono::milliseconds idle_time{60'000};   // between requests
  std::chrono::milliseconds write_time{30'000};  // without progress of the reader
};

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;  // 0 = any free one
  bool dashboard = true;   // the page at /
  ApiOptions api;
  ServerLimits limits;
};

class Server {
 public:
  // Listens when it returns. Throws kUnavailable when the address cannot be had, kInvalidArgument
  // when it is none.
  Server(JobService& service, ServerOptions options);
  ~Server();

  std::uint16_t port() const;
  std::string url() const;  // "http://127.0.0.1:8000"
  // Takes no new connections, ends streams, lets running answers finish for up to `grace`.
  void stop(std::chrono::milliseconds grace = std::chrono::seconds(5));

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Whether an address can be reached from this machine alone.
bool is_loopback(const std::string& host);

}  // namespace seamwright::coordinator::http

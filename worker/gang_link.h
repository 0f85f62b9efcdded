// A gang's link to its coordinator that outlives lost connections: it connects again, says what it
// runs, and repeats what was not acknowledged.
// Threads: all calls from any thread; handlers run on threads of the link, one at a time, and must
// not block.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "comm/control/link.h"

namespace seamwright::worker {

struct GangLinkOptions {
  std::string host;
  std::uint16_t port = 0;
  std::string token;
  // Without a coordinator for this long the gang ends itself; shorter than the coordinator's lease,
  // so that a job never runs twice.
  std::chrono::milliseconds lease{9000};
  // The first connection may take longer: gangs and coordinators are started in any order.
  std::chrono::milliseconds first_patience{60000};
  std::chrono::milliseconds silence_limit{5000};
};

class GangLink {
 public:
  struct Handlers {
    // Who joins and what it runs, asked for at every handshake.
    std::function<nlohmann::json()> about;
    std::function<void(comm::ControlMessage)> message;
    // No coordinator for the lease, or it refused this gang. Once.
    std::function<void(const std::string& why)> expired;
  };

  GangLink(GangLinkOptions options, Handlers handlers);
  ~GangLink();
  GangLink(const GangLink&) = delete;
  GangLink& operator=(const GangLink&) = delete;

  // Sent if the link is up and takes a message of this size; lost otherwise.
  void tell(nlohmann::json header, comm::Bytes payload = {});
  // Kept and sent again after every lost link until acknowledged under its key. Blocks while much
  // is waiting; not from a handler. Throws kResource for what no link would take.
  void deliver(const std::string& key, nlohmann::json header, comm::Bytes payload = {});
  void acknowledged(const std::string& key);
  // Forgets everything undelivered: its attempt is over.
  void forget();
  // The same, but what is only told still goes out.
  void forget_unanswered();
  // Until everything that is kept is acknowledged; false after `limit`.
  bool wait_delivered(std::chrono::milliseconds limit);
  // Says goodbye and ends.
  void close(std::chrono::milliseconds patience);

 private:
  using Clock = std::chrono::steady_clock;
  struct Outgoing {
    std::string key;  // empty: sent once
    std::shared_ptr<const comm::ControlMessage> message;
    bool sent = false;
  };
  void loop();
  bool connect();
  void push(Outgoing outgoing, std::unique_lock<std::mutex>& lock);
  std::shared_ptr<const comm::ControlMessage> next_unsent();

  const GangLinkOptions options_;
  const Handlers handlers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Outgoing> outbox_;
  std::size_t outbox_bytes_ = 0;
  std::shared_ptr<comm::ControlClient> client_;  // null while the link is down
  bool lost_ = false, closing_ = false, was_connected_ = false;
  std::string lost_reason_;
  Clock::time_point down_since_ = Clock::now(), up_since_{};
  std::optional<Clock::time_point> sent_away_since_;
  std::thread thread_;
};

}  // namespace seamwright::worker

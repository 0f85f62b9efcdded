// The state behind Fabric that its two source files share. Private to comm.
// Threads: each member names the mutex that guards it.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "comm/fabric.h"
#include "comm/wire.h"

namespace seamwright::comm {

struct Fabric::Shared {
  explicit Shared(int size)
      : collective_mail(static_cast<std::size_t>(size)), traffic(static_cast<std::size_t>(size)) {}

  mutable std::mutex mutex;  // everything down to `traffic`
  std::condition_variable collective_arrived;
  std::optional<Error> abort_error;
  std::vector<std::function<void(const Error&)>> abort_callbacks;
  bool closed = false;
  bool group_open = false;                              // only the thread that starts operations
  std::vector<std::deque<wire::Mail>> collective_mail;  // per sender
  std::vector<PeerTraffic> traffic;

  std::mutex collective_mutex;         // one collective at a time
  std::uint64_t collective_count = 0;  // by collective_mutex

  std::mutex mail_mutex;  // handler and waiting_mail; held while the handler runs
  MailHandler handler;
  std::deque<std::pair<int, Bytes>> waiting_mail;
};

}  // namespace seamwright::comm

// The shared half of an Operation, completed by a transport, which lets go of its own hold on the
// buffer before. Private to comm.
// Threads: any thread may wait; exactly the first complete() or fail() counts.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "comm/operation.h"

namespace seamwright::comm {

class OperationState {
 public:
  // What order_before() does instead of blocking the host; set by device fabrics before the
  // operation is handed out.
  using StreamWait = std::function<void(Stream)>;

  explicit OperationState(std::shared_ptr<const void> owner) : owner_(std::move(owner)) {}

  void complete() { finish(nullptr); }
  void fail(const Error& error) { finish(&error); }
  bool done() const { return done_.load(std::memory_order_acquire); }

  void wait();
  bool wait_for(std::chrono::nanoseconds limit);
  const Error* error() const { return done() && error_ ? &*error_ : nullptr; }
  void throw_if_failed() const;
  void on_complete(Operation::Callback callback);

  void set_stream_wait(StreamWait wait) { stream_wait_ = std::move(wait); }
  const StreamWait& stream_wait() const { return stream_wait_; }

 private:
  void finish(const Error* error);

  std::atomic<bool> done_{false};
  std::mutex mutex_;
  bool finishing_ = false;
  std::condition_variable changed_;
  std::shared_ptr<const void> owner_;  // the buffer, until complete
  std::optional<Error> error_;         // written once, before done_
  std::vector<Operation::Callback> callbacks_;
  StreamWait stream_wait_;
};

}  // namespace seamwright::comm

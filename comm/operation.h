// A started send, receive or mail: the handle to wait on.
// Threads: handles are cheap to copy and may be used from any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "base/error.h"
#include "comm/buffer.h"

namespace seamwright::comm {

class OperationState;

class Operation {
 public:
  // Called with null on success, else with the error; must be short, must not block or throw.
  using Callback = std::function<void(const Error*)>;

  Operation() = default;  // already complete
  explicit Operation(std::shared_ptr<OperationState> state) : state_(std::move(state)) {}

  // True once complete. Throws the operation's error if it failed.
  bool test() const;
  // Blocks until complete. Throws the operation's error if it failed.
  void wait() const;
  // As wait(), but gives up after `limit` and returns false.
  bool wait_for(std::chrono::nanoseconds limit) const;
  // Null while running and on success.
  const Error* error() const;
  // Runs `callback` when complete: on the fabric's progress thread, one callback at a time, or at
  // once on this thread if it is complete already.
  void on_complete(Callback callback) const;
  // Work given to `stream` from now on runs after this operation. Host fabrics block here;
  // device fabrics return at once.
  void order_before(Stream stream) const;

 private:
  std::shared_ptr<OperationState> state_;
};

// Blocks until at least one is complete and returns its index (the lowest), or nullopt after
// `limit`. Does not throw a failed operation's error: ask it.
std::optional<std::size_t> wait_any(std::span<const Operation> operations,
                                    std::chrono::nanoseconds limit);

}  // namespace seamwright::comm

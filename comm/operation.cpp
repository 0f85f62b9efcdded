#include "comm/operation.h"

#include <utility>

#include "comm/operation_state.h"
#include "comm/signal.h"

namespace seamwright::comm {

void OperationState::finish(const Error* error) {
  std::vector<Operation::Callback> callbacks;
  std::shared_ptr<const void> owner;
  {
    std::scoped_lock lock(mutex_);
    if (std::exchange(finishing_, true)) return;
    owner = std::move(owner_);
  }
  // Before anybody learns of it, as the interface promises; outside the lock, because a destructor
  // may do anything.
  owner.reset();
  {
    std::scoped_lock lock(mutex_);
    if (error != nullptr) error_.emplace(*error);
    callbacks = std::move(callbacks_);
    done_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
  for (const Operation::Callback& callback : callbacks) callback(error);
}

void OperationState::wait() {
  if (!done()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_.load(std::memory_order_relaxed); });
  }
  throw_if_failed();
}

bool OperationState::wait_for(std::chrono::nanoseconds limit) {
  if (!done()) {
    std::unique_lock lock(mutex_);
    const auto complete = [this] { return done_.load(std::memory_order_relaxed); };
    if (!changed_.wait_until(lock, Signal::deadline_after(limit), complete)) return false;
  }
  throw_if_failed();
  return true;
}

void OperationState::throw_if_failed() const {
  if (error_) throw Error(*error_);
}

void OperationState::on_complete(Operation::Callback callback) {
  {
    std::scoped_lock lock(mutex_);
    if (!done_.load(std::memory_order_relaxed)) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback(error());
}

bool Operation::test() const {
  if (!state_) return true;
  if (!state_->done()) return false;
  state_->throw_if_failed();
  return true;
}

void Operation::wait() const {
  if (state_) state_->wait();
}

bool Operation::wait_for(std::chrono::nanoseconds limit) const {
  return state_ == nullptr || state_->wait_for(limit);
}

const Error* Operation::error() const { return state_ ? state_->error() : nullptr; }

void Operation::on_complete(Callback callback) const {
  if (state_) {
    state_->on_complete(std::move(callback));
  } else {
    callback(nullptr);
  }
}

void Operation::order_before(Stream stream) const {
  if (!state_) return;
  if (state_->stream_wait()) {
    state_->stream_wait()(stream);
  } else {
    state_->wait();
  }
}

std::optional<std::size_t> wait_any(std::span<const Operation> operations,
                                    std::chrono::nanoseconds limit) {
  // Shared, because callbacks of operations that are still running outlive this call.
  auto signal = std::make_shared<Signal>();
  for (const Operation& operation : operations) {
    operation.on_complete([signal](const Error*) { signal->notify(); });
  }
  const Signal::Clock::time_point deadline = Signal::deadline_after(limit);
  for (;;) {
    const std::uint64_t seen = signal->epoch();
    for (std::size_t i = 0; i < operations.size(); ++i) {
      if (operations[i].error() != nullptr || operations[i].test()) return i;
    }
    if (!signal->wait_past(seen, deadline)) return std::nullopt;
  }
}

}  // namespace seamwright::comm

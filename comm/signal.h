// One place for an executor to wait for "any of these": a counter that events raise.
// Threads: notify() and epoch() from any thread; any number of waiters.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace seamwright::comm {

// Use: read epoch(), look whether there is something to do, and if not wait_past(that epoch). An
// event between the look and the wait is not lost.
class Signal {
 public:
  using Clock = std::chrono::steady_clock;

  // `spin`: how long a waiter polls before it sleeps. It saves the microseconds of a wake-up when
  // every thread has a core of its own, and steals time from the others when not.
  explicit Signal(std::chrono::nanoseconds spin = {}) : spin_(spin) {}

  // Saturates, so that a very long limit means for ever.
  static Clock::time_point deadline_after(std::chrono::nanoseconds limit);

  void notify();
  std::uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  // Returns true once epoch() != seen, false at the deadline.
  bool wait_past(std::uint64_t seen, Clock::time_point deadline);

 private:
  const std::chrono::nanoseconds spin_;
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable raised_;
};

}  // namespace seamwright::comm

#include "comm/signal.h"

#include <algorithm>

namespace seamwright::comm {

Signal::Clock::time_point Signal::deadline_after(std::chrono::nanoseconds limit) {
  const Clock::time_point now = Clock::now();
  return limit < Clock::time_point::max() - now ? now + limit : Clock::time_point::max();
}

void Signal::notify() {
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  // Nobody asleep: no lock and no system call. A waiter announces itself before it looks at the
  // epoch for the last time, so one of the two sees the other.
  if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
  { std::scoped_lock lock(mutex_); }
  raised_.notify_all();
}

bool Signal::wait_past(std::uint64_t seen, Clock::time_point deadline) {
  if (epoch() != seen) return true;
  if (spin_.count() > 0) {
    const Clock::time_point spin_end = std::min(Clock::now() + spin_, deadline);
    while (Clock::now() < spin_end) {
      if (epoch() != seen) return true;
    }
  }
  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  const auto raised = [&] { return epoch_.load(std::memory_order_seq_cst) != seen; };
  const bool result = raised_.wait_until(lock, deadline, raised);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return result;
}

}  // namespace seamwright::comm

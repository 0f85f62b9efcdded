#include "worker/pulse.h"

#include <utility>

namespace seamwright::worker {

Pulse::Pulse(std::function<void()> beat, std::chrono::milliseconds interval,
             std::chrono::milliseconds limit) {
  if (!beat) return;
  thread_ = std::thread([this, beat = std::move(beat), interval, limit] {
    const auto end = std::chrono::steady_clock::now() + limit;
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, interval, [this] { return over_; })) {
      if (std::chrono::steady_clock::now() > end) return;
      lock.unlock();
      beat();
      lock.lock();
    }
  });
}

Pulse::~Pulse() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace seamwright::worker

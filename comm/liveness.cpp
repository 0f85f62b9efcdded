#include "comm/liveness.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::comm {

Liveness::Liveness(int rank, int size, Duration interval, Duration silence_limit, Time now)
    : rank_(rank),
      size_(size),
      interval_(interval),
      limit_(silence_limit),
      next_(now),
      last_tick_(now),
      heard_(static_cast<std::size_t>(size), now) {
  require(limit_ <= Duration::zero() || (interval > Duration::zero() && limit_ >= 2 * interval),
          "the silence limit must be at least two heartbeat intervals, or one late heartbeat would "
          "count as a lost rank");
}

std::vector<int> Liveness::watched() const {
  if (rank_ != 0) return {0};
  std::vector<int> peers;
  for (int peer = 1; peer < size_; ++peer) peers.push_back(peer);
  return peers;
}

void Liveness::heard(int peer, Time now) { heard_[static_cast<std::size_t>(peer)] = now; }

std::vector<int> Liveness::due(Time now) {
  if (!enabled()) return {};
  if (now - last_tick_ > limit_ / 2) std::fill(heard_.begin(), heard_.end(), now);
  last_tick_ = now;
  if (now < next_) return {};
  next_ = now + interval_;
  return watched();
}

std::optional<int> Liveness::lost(Time now) const {
  if (!enabled()) return std::nullopt;
  for (const int peer : watched()) {
    if (silence(peer, now) > limit_) return peer;
  }
  return std::nullopt;
}

Liveness::Duration Liveness::silence(int peer, Time now) const {
  return now - heard_[static_cast<std::size_t>(peer)];
}

}  // namespace seamwright::comm

// Who has been heard from lately, and who has been silent too long: arithmetic on times given in.
// Threads: values; one thread at a time.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

namespace seamwright::comm {

// A star: rank 0 watches everyone and everyone watches rank 0, so a gang of N costs 2 (N - 1)
// heartbeats an interval.
class Liveness {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  Liveness(int rank, int size, Duration interval, Duration silence_limit, Time now);

  bool enabled() const { return limit_ > Duration::zero() && size_ > 1; }
  // Anything received counts.
  void heard(int peer, Time now);
  // The ranks to send a heartbeat to now; empty between intervals. A caller that was itself stopped
  // for long (a debugger, a suspended machine) must not blame its peers for the silence: everyone
  // gets a fresh start.
  std::vector<int> due(Time now);
  // A watched rank that has been silent for longer than the limit.
  std::optional<int> lost(Time now) const;
  Duration silence(int peer, Time now) const;

 private:
  std::vector<int> watched() const;

  int rank_;
  int size_;
  Duration interval_;
  Duration limit_;
  Time next_;
  Time last_tick_;
  std::vector<Time> heard_;
};

}  // namespace seamwright::comm

// Whether every rank gets on: each says what it works on and for how long, and rank 0 gives the
// gang up when a task takes far longer than such tasks do.
// Threads: starts(), done() from the thread that runs tasks; heard() from the fabric's; one thread
// of its own. The events come on that thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/fabric.h"
#include "scheduling/plan.h"
#include "worker/gang_mail.h"

namespace seamwright::worker {

struct WatchLimits {
  std::chrono::milliseconds interval{500};
  // A task counts as hung after this many times the longest of its kind so far, but never before
  // `at_least`; while there was none of its kind, after `grace` (weights are paged in, kernels
  // made).
  double factor = 20;
  std::chrono::milliseconds at_least{60'000};
  std::chrono::milliseconds grace{600'000};
};

// As above, but with more grace for tasks that are planned to be long: the plan's times are those
// of an ordinary processor, and this one may be as much slower as `factor` says.
WatchLimits limits_for(const scheduling::CostTable& costs);

// What a rank says of itself.
struct RankProgress {
  std::int64_t tasks = 0;     // done
  std::int64_t forwards = 0;  // of these, visits of the U-Net
  std::int64_t kind = -1;     // of the task under way; -1: it waits for others
  std::int64_t window = -1, step = -1;
  std::int64_t for_ms = 0;  // under way for
  std::int64_t allowed_ms = 0;
};

class ProgressWatch {
 public:
  struct Events {
    std::function<void(const Error&)> hung;  // rank 0; once
    std::function<void()> well{};            // rank 0: at every look until then
    // Rank 0: visits of the U-Net that all ranks have done, as far as is known.
    std::function<void(std::int64_t forwards)> forwards;
  };

  // `fabric` is null for a gang of one.
  // `run` is that of its mail.
  ProgressWatch(const WatchLimits& limits, comm::Fabric* fabric, Events events,
                std::uint32_t run = 0);
  ~ProgressWatch();
  ProgressWatch(const ProgressWatch&) = delete;
  ProgressWatch& operator=(const ProgressWatch&) = delete;

  void starts(const scheduling::PlannedTask& task);
  void done(const scheduling::PlannedTask& task);
  // The task under way waits for something that gets on: its time counts from now.
  void gets_on();
  void heard(int from, const GangMail& mail);
  // There are no more tasks: from now on nobody has to get on.
  void over();

 private:
  using Clock = std::chrono::steady_clock;
  void run();
  RankProgress own(Clock::time_point now) const;
  std::optional<Error> judge(Clock::time_point now);
  std::int64_t total_forwards() const;

  const WatchLimits limits_;
  comm::Fabric* fabric_;
  const Events events_;
  const std::uint32_t run_;

  mutable std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false, over_ = false;
  std::vector<RankProgress> ranks_;  // rank 0's is its own
  std::vector<double> longest_ms_;   // by kind of task
  std::optional<scheduling::Task> task_;
  Clock::time_point began_;
  RankProgress counts_;
  std::int64_t tasks_seen_ = -1;  // of all ranks
  Clock::time_point moved_;

  std::thread thread_;
};

}  // namespace seamwright::worker

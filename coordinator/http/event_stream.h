// A job's events as server-sent events: what happened so far, then what happens, then the end.
// Threads: next() from one thread at a time; events arrive on the service's own thread.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "coordinator/http/message.h"
#include "coordinator/job_service.h"

namespace seamwright::coordinator::http {

class EventStream : public BodyStream {
 public:
  // `job` "" = every job the owner may see, new events only.
  // `follow` false ends after what happened so far.
  EventStream(JobService& service, std::string job, std::string owner, std::uint64_t after_sequence,
              bool follow = true);

  void start(std::function<void()> wake) override;
  Piece next() override;
  std::chrono::milliseconds patience() const override;

  // The id of the last event of a finished job: a client that comes back with it gets 204, which
  // tells browsers not to ask again.
  static constexpr std::string_view kEndId = "end";

 private:
  using Clock = std::chrono::steady_clock;

  void receive(const JobEvent& event);
  // Adds the job as it is now, and notices when it is final or gone.
  std::string snapshot();

  JobService& service_;
  std::string job_, owner_;
  std::uint64_t after_sequence_;
  std::function<void()> wake_;
  bool follow_;
  bool greeted_ = false, final_ = false;
  Clock::time_point last_event_ = Clock::now();

  std::mutex mutex_;
  std::deque<std::string> waiting_;  // guarded by mutex_
  bool state_changed_ = false;       // guarded by mutex_
  bool overflowed_ = false;          // guarded by mutex_

  // Last, so that no handler runs while the rest is destroyed.
  std::unique_ptr<Subscription> subscription_;
};

// One event in the format of server-sent events.
std::string sse_text(const std::string& id, const std::string& kind, const std::string& data);

}  // namespace seamwright::coordinator::http

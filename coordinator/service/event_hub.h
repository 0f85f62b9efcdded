// Who wants to hear of which events, and the delivery to them.
// Threads: subscribe and unsubscribe from any thread, deliver from the service's thread only. No
// handler runs any more once its subscription is gone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "coordinator/job_service.h"

namespace seamwright::coordinator {

class EventHub : public std::enable_shared_from_this<EventHub> {
 public:
  using Handler = std::function<void(const JobEvent&)>;

  // job "" = all jobs the owner may see.
  std::unique_ptr<Subscription> subscribe(const std::string& job, const std::string& owner,
                                          Handler handler);
  // `past` first, then what is delivered from now on: one step for the subscriber.
  std::unique_ptr<Subscription> subscribe(const std::string& job, const std::string& owner,
                                          Handler handler, const std::vector<JobEvent>& past);
  void deliver(JobEvent event, const std::string& owner);
  std::size_t size() const;

 private:
  struct Entry {
    std::string job, owner;
    Handler handler;
  };
  class Ticket;
  // Recursive: a handler may end its own subscription.
  mutable std::recursive_mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<Entry>> entries_;
  std::uint64_t next_ = 1;
};

}  // namespace seamwright::coordinator

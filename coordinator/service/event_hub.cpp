#include "coordinator/service/event_hub.h"

#include "base/log.h"

namespace seamwright::coordinator {

class EventHub::Ticket : public Subscription {
 public:
  Ticket(std::shared_ptr<EventHub> hub, std::uint64_t id) : hub_(std::move(hub)), id_(id) {}
  ~Ticket() override {
    const std::lock_guard lock(hub_->mutex_);
    hub_->entries_.erase(id_);
  }

 private:
  std::shared_ptr<EventHub> hub_;
  std::uint64_t id_;
};

std::unique_ptr<Subscription> EventHub::subscribe(const std::string& job, const std::string& owner,
                                                  Handler handler) {
  return subscribe(job, owner, std::move(handler), {});
}

std::unique_ptr<Subscription> EventHub::subscribe(const std::string& job, const std::string& owner,
                                                  Handler handler,
                                                  const std::vector<JobEvent>& past) {
  const std::lock_guard lock(mutex_);
  for (const auto& event : past) handler(event);
  const auto id = next_++;
  entries_[id] = std::make_shared<Entry>(Entry{job, owner, std::move(handler)});
  return std::make_unique<Ticket>(shared_from_this(), id);
}

void EventHub::deliver(JobEvent event, const std::string& owner) {
  const std::lock_guard lock(mutex_);
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto entry = (next++)->second;  // the handler may erase itself
    if (!entry->job.empty() && entry->job != event.job) continue;
    if (!entry->owner.empty() && entry->owner != owner) continue;
    try {
      if (!event.text) event.text = std::make_shared<const std::string>(event_text(event));
      entry->handler(event);
    } catch (const std::exception& error) {
      log_error("an event handler failed: {}", error.what());
    }
  }
}

std::size_t EventHub::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace seamwright::coordinator

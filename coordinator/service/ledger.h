// Changes to jobs, collected by many small pieces of work and made durable together: readers,
// subscribers and gangs learn of a change only after it is on disk.
// Threads: the service's thread only.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/service/event_hub.h"
#include "coordinator/service/job_table.h"
#include "coordinator/store/job_store.h"

namespace seamwright::coordinator {

std::int64_t unix_now();

class Ledger {
 public:
  Ledger(JobStore& store, JobTable& table, EventHub& hub)
      : store_(store), table_(table), hub_(hub) {}

  // The job with all changes collected so far; null if there is none.
  const JobRecord* find(const std::string& id) const;
  // The same for a record that the table gave a moment ago: most jobs have not changed since.
  const JobRecord* find(const std::shared_ptr<const JobRecord>& known) const;
  // Of the jobs created since the last commit, which the table does not have yet.
  int count_new(const std::function<bool(const JobRecord&)>& counts) const;
  // A reference until the next call of this class. Throws ApiError 404.
  JobRecord& edit(const std::string& id);
  void create(JobRecord record);
  void remove(const std::string& id);
  // Numbers the event and keeps it with the job.
  void event(const std::string& id, const std::string& kind, nlohmann::json data);
  // Any other change to the store, in the same transaction.
  void write(std::function<void(JobStore&)> change);
  // Runs once everything is durable, in order.
  void after(std::function<void()> action);
  // Names the failpoints before.NAME and after.NAME around the commit, beside the before.commit and
  // after.commit of every one.
  void label(const std::string& name);

  // Changes between the two are kept together or dropped together.
  void begin_item() { item_ = {}; }
  void keep_item();
  void drop_item() { item_ = {}; }

  // Makes everything durable, then tells everyone. On an exception nothing has changed and nothing
  // was told. Either way nothing is left collected.
  void commit();

 private:
  struct Pending {
    // nullopt = removed
    std::map<std::string, std::optional<JobRecord>> jobs;
    std::vector<JobEvent> events;
    std::vector<std::function<void(JobStore&)>> writes;
    std::vector<std::function<void()>> after;
    std::vector<std::string> labels;
    bool changes_store() const { return !jobs.empty() || !events.empty() || !writes.empty(); }
  };
  // What was collected about the job; null if nothing, else *it is nullopt when it was removed.
  const std::optional<JobRecord>* collected(const std::string& id) const;
  void store_changes();
  void publish();

  JobStore& store_;
  JobTable& table_;
  EventHub& hub_;
  Pending item_, batch_;
};

}  // namespace seamwright::coordinator

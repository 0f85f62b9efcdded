// All jobs as readers see them: only what is durable, never a change half made.
// Threads: all calls from any thread; writers are the service's thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "coordinator/store/job_record.h"

namespace seamwright::coordinator {

struct QueuePlace {
  int position = 0;
  std::string reason;
};
using QueuePlaces = std::unordered_map<std::string, QueuePlace>;

class JobTable {
 public:
  using RecordPtr = std::shared_ptr<const JobRecord>;

  // Null if there is none, or it belongs to another owner ("" sees all).
  RecordPtr find(const std::string& id, const std::string& owner = "") const;
  // With queue place; throws ApiError 404.
  JobView view(const std::string& id, const std::string& owner) const;
  JobPage page(const std::string& after, int limit, bool ascending, const std::string& owner) const;
  std::vector<RecordPtr> in_state(JobState state) const;
  std::size_t count(JobState state) const;
  std::size_t size() const;

  void put(RecordPtr record);
  void remove(const std::string& id);
  void set_places(QueuePlaces places);

 private:
  JobView view_of(const JobRecord& record) const;

  mutable std::mutex mutex_;
  std::unordered_map<std::string, RecordPtr> by_id_;
  std::map<std::int64_t, RecordPtr> by_arrival_;
  // Small sets that are asked for often: everything that is not final.
  std::map<JobState, std::map<std::int64_t, RecordPtr>> by_state_;
  QueuePlaces places_;
};

// 404 "not_found".
[[noreturn]] void no_such_job(const std::string& id);

}  // namespace seamwright::coordinator

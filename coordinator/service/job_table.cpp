#include "coordinator/service/job_table.h"

#include <fmt/core.h>

namespace seamwright::coordinator {

void no_such_job(const std::string& id) {
  throw ApiError(404, "invalid_request_error", "not_found", "video_id",
                 fmt::format("there is no video '{}'", id));
}

JobTable::RecordPtr JobTable::find(const std::string& id, const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return nullptr;
  if (!owner.empty() && found->second->view.submission.owner != owner) return nullptr;
  return found->second;
}

JobView JobTable::view_of(const JobRecord& record) const {
  JobView view = record.view;
  const auto place = places_.find(view.id);
  if (record.waits() && place != places_.end()) {
    view.queue_position = place->second.position;
    view.waiting_for = place->second.reason;
  }
  return view;
}

JobView JobTable::view(const std::string& id, const std::string& owner) const {
  const auto record = find(id, owner);
  if (!record) no_such_job(id);
  const std::lock_guard lock(mutex_);
  return view_of(*record);
}

JobPage JobTable::page(const std::string& after, int limit, bool ascending,
                       const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  JobPage page;
  // True when the page is full: then there is more.
  const auto take = [&](const RecordPtr& record) {
    if (!owner.empty() && record->view.submission.owner != owner) return false;
    if (static_cast<int>(page.jobs.size()) == limit) return page.has_more = true;
    page.jobs.push_back(view_of(*record));
    return false;
  };
  std::int64_t cursor = 0;
  if (!after.empty()) {
    const auto found = by_id_.find(after);
    if (found == by_id_.end() ||
        (!owner.empty() && found->second->view.submission.owner != owner)) {
      throw ApiError(404, "invalid_request_error", "invalid_cursor", "after",
                     fmt::format("after is '{}', but there is no such video: give the id of the "
                                 "last one of the page before",
                                 after));
    }
    cursor = found->second->arrival;
  }
  if (ascending) {
    auto at = after.empty() ? by_arrival_.begin() : by_arrival_.upper_bound(cursor);
    for (; at != by_arrival_.end() && !take(at->second); ++at) {
    }
  } else {
    auto at = after.empty() ? by_arrival_.end() : by_arrival_.lower_bound(cursor);
    while (at != by_arrival_.begin() && !take((--at)->second)) {
    }
  }
  return page;
}

std::vector<JobTable::RecordPtr> JobTable::in_state(JobState state) const {
  const std::lock_guard lock(mutex_);
  std::vector<RecordPtr> all;
  if (const auto found = by_state_.find(state); found != by_state_.end()) {
    for (const auto& [arrival, record] : found->second) all.push_back(record);
  }
  return all;
}

std::size_t JobTable::count(JobState state) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_state_.find(state);
  return found == by_state_.end() ? 0 : found->second.size();
}

std::size_t JobTable::size() const {
  const std::lock_guard lock(mutex_);
  return by_id_.size();
}

void JobTable::put(RecordPtr record) {
  const std::lock_guard lock(mutex_);
  auto& entry = by_id_[record->view.id];
  if (entry) by_state_[entry->view.state].erase(entry->arrival);
  entry = record;
  by_arrival_[record->arrival] = record;
  by_state_[record->view.state][record->arrival] = std::move(record);
}

void JobTable::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  by_arrival_.erase(found->second->arrival);
  by_state_[found->second->view.state].erase(found->second->arrival);
  by_id_.erase(found);
}

void JobTable::set_places(QueuePlaces places) {
  const std::lock_guard lock(mutex_);
  places_ = std::move(places);
}

}  // namespace seamwright::coordinator

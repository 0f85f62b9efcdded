#include "coordinator/service/ledger.h"

#include <ctime>
#include <iterator>

#include "base/failpoint.h"
#include "base/log.h"

namespace seamwright::coordinator {

std::int64_t unix_now() { return static_cast<std::int64_t>(std::time(nullptr)); }

const std::optional<JobRecord>* Ledger::collected(const std::string& id) const {
  for (const auto* pending : {&item_, &batch_}) {
    const auto found = pending->jobs.find(id);
    if (found != pending->jobs.end()) return &found->second;
  }
  return nullptr;
}

const JobRecord* Ledger::find(const std::shared_ptr<const JobRecord>& known) const {
  if (const auto* mine = collected(known->view.id)) return *mine ? &**mine : nullptr;
  return known.get();
}

const JobRecord* Ledger::find(const std::string& id) const {
  if (const auto* mine = collected(id)) return *mine ? &**mine : nullptr;
  // The table keeps its records until a commit of this thread replaces them.
  return table_.find(id).get();
}

int Ledger::count_new(const std::function<bool(const JobRecord&)>& counts) const {
  int count = 0;
  for (const auto* pending : {&item_, &batch_}) {
    for (const auto& [id, job] : pending->jobs) {
      if (pending == &batch_ && item_.jobs.contains(id)) continue;
      if (job && !table_.find(id) && counts(*job)) ++count;
    }
  }
  return count;
}

JobRecord& Ledger::edit(const std::string& id) {
  const auto* now = find(id);
  if (now == nullptr) no_such_job(id);
  auto& mine = item_.jobs[id];
  if (!mine) mine = *now;
  return *mine;
}

void Ledger::create(JobRecord record) {
  const std::string id = record.view.id;
  item_.jobs[id] = std::move(record);
}

void Ledger::remove(const std::string& id) { item_.jobs[id] = std::nullopt; }

void Ledger::event(const std::string& id, const std::string& kind, nlohmann::json data) {
  auto& job = edit(id);
  item_.events.push_back({++job.last_event, id, kind, std::move(data)});
}

void Ledger::write(std::function<void(JobStore&)> change) {
  item_.writes.push_back(std::move(change));
}

void Ledger::after(std::function<void()> action) { item_.after.push_back(std::move(action)); }

void Ledger::label(const std::string& name) { item_.labels.push_back(name); }

void Ledger::keep_item() {
  const auto append = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  for (auto& [id, job] : item_.jobs) batch_.jobs[id] = std::move(job);
  append(batch_.events, item_.events);
  append(batch_.writes, item_.writes);
  append(batch_.after, item_.after);
  append(batch_.labels, item_.labels);
  item_ = {};
}

// Jobs first: everything else refers to them.
void Ledger::store_changes() {
  for (const auto& [id, job] : batch_.jobs) {
    if (job) store_.put_job(*job);
  }
  const auto now = unix_now();
  for (const auto& event : batch_.events) {
    const auto job = batch_.jobs.find(event.job);
    if (job == batch_.jobs.end() || job->second) store_.add_event(event, now);
  }
  for (const auto& change : batch_.writes) change(store_);
  for (const auto& [id, job] : batch_.jobs) {
    if (!job) store_.remove_job(id);
  }
}

void Ledger::publish() {
  std::map<std::string, std::string> owners;
  for (auto& [id, job] : batch_.jobs) {
    if (job) {
      owners[id] = job->view.submission.owner;
      table_.put(std::make_shared<const JobRecord>(std::move(*job)));
    } else {
      table_.remove(id);
    }
  }
  for (auto& event : batch_.events) {
    const auto& owner = owners[event.job];
    hub_.deliver(std::move(event), owner);
  }
}

void Ledger::commit() {
  struct Clear {
    Ledger& ledger;
    ~Clear() { ledger.batch_ = {}; }
  } clear{*this};
  if (batch_.changes_store()) {
    failpoint("before.commit");
    for (const auto& name : batch_.labels) failpoint("before." + name);
    store_.commit([this] { store_changes(); });
    failpoint("after.commit");
    for (const auto& name : batch_.labels) failpoint("after." + name);
    publish();
  }
  for (const auto& action : batch_.after) {
    try {
      action();
    } catch (const std::exception& error) {
      log_error("after a commit: {}", error.what());
    }
  }
}

}  // namespace seamwright::coordinator

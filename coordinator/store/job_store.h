// The durable side of the service: jobs, attempts, events, artifacts and idempotency keys in
// SQLite.
// Threads: one thread at a time. Nothing is durable before commit() has returned.
//
// docs/formats/store.md describes the tables.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/store/job_record.h"

namespace seamwright::coordinator {

class Database;

inline constexpr int kStoreVersion = 2;
inline constexpr int kEventsKept = 1000;  // of one job; older ones go

class JobStore {
 public:
  // Creates the file, or opens it and migrates it to this version. Throws kUnsupported for a store
  // of a newer version, kCorrupt, kIo.
  explicit JobStore(const std::filesystem::path& file);
  ~JobStore();

  // Drawn when the store was made: tells this service's processes from others'.
  const std::string& service_id() const { return service_id_; }

  std::vector<JobRecord> jobs();  // in order of arrival
  std::vector<IdempotencyKey> keys();
  std::vector<Artifact> artifacts();
  std::vector<AttemptRecord> attempts(const std::string& job);
  // Events of one job after `sequence`, in order.
  std::vector<JobEvent> events(const std::string& job, std::uint64_t sequence);

  // Runs `changes` in one transaction and makes it durable; on any exception nothing is changed.
  void commit(const std::function<void()>& changes);

  // Only inside commit().
  void put_job(const JobRecord& job);
  void remove_job(const std::string& id);  // with everything that belongs to it
  void put_attempt(const AttemptRecord& attempt);
  void end_attempt(const std::string& job, int number, std::int64_t at, const std::string& outcome);
  void add_event(const JobEvent& event, std::int64_t at);
  void put_key(const IdempotencyKey& key);
  void put_artifact(const Artifact& artifact);
  void remove_artifacts(const std::string& job, const std::string& kind);

 private:
  std::unique_ptr<Database> db_;
  std::string service_id_;
};

}  // namespace seamwright::coordinator

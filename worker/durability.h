// A rank's share in recovery: its records go to rank 0, records it needs come from there, and what
// became durable anywhere is known everywhere.
// Threads: calls from any thread but where noted; the listener is called on threads of the fabric
// and of rank 0's keeper.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "comm/fabric.h"
#include "worker/durable_board.h"
#include "worker/gang_mail.h"
#include "worker/record_keeper.h"

namespace seamwright::worker {

class Durability {
 public:
  // Rank 0 has the store, the others null; `fabric` is null for a gang of one.
  // `run` is that of its mail.
  Durability(const scheduling::PlanRequest& request, const scheduling::ResumeState& resume,
             DurableStore* store, comm::Fabric* fabric, std::uint32_t run = 0);
  ~Durability();
  Durability(const Durability&) = delete;
  Durability& operator=(const Durability&) = delete;

  // Returns at once. What another owner of the frame has saved before costs nothing.
  void save(RecordKey key, comm::Bytes bytes);
  // Blocks. Throws what end() was given.
  comm::Bytes load(RecordKey key);
  // As DurableBoard::allows.
  bool allows(const scheduling::PlannedTask& task) const { return board_.allows(task); }
  // Frames below are committed. Rank 0 only.
  void published(std::int64_t first_missing_frame);

  // Mail about records, from the fabric.
  void receive(int from, GangMail mail);

  // Called when something became durable (null) or saving failed.
  void set_listener(std::function<void(const Error*)> listener);
  // Wakes whoever waits in load().
  void end(const Error& error);

  std::int64_t records_saved() const { return keeper_ ? keeper_->records_saved() : 0; }
  std::int64_t bytes_saved() const { return keeper_ ? keeper_->bytes_saved() : 0; }

 private:
  void on_durable(const std::vector<RecordKey>& keys, int first_missing_frame);
  void tell(const Error* error);

  DurableBoard board_;
  DurableStore* store_;
  comm::Fabric* fabric_;
  const std::uint32_t run_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RecordKey, comm::Bytes> loaded_;
  std::optional<Error> ended_;
  std::mutex listener_mutex_;  // held while the listener runs
  std::function<void(const Error*)> listener_;

  std::unique_ptr<RecordKeeper> keeper_;  // last: its thread uses the rest
};

}  // namespace seamwright::worker

// A durable store that the coordinator keeps: records and segments travel over the gang's link, and
// count once it has acknowledged them.
// Threads: as DurableStore; handle() from the link's thread.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "worker/durable_store.h"
#include "worker/gang_link.h"

namespace seamwright::worker {

// One attempt of a job, as the coordinator names it.
struct AttemptName {
  std::string job;
  int attempt = 0;
  bool operator==(const AttemptName&) const = default;
};

// {"type": type, "job", "attempt"}
nlohmann::json attempt_header(const std::string& type, const AttemptName& name);

class RemoteStore : public DurableStore {
 public:
  // `left` is what attempt.start brought: {"identity", "segments", "records"}. What belongs to
  // another identity does not count. Drafts lie in `scratch`.
  RemoteStore(GangLink& link, AttemptName name, const nlohmann::json& left,
              const DurableIdentity& identity, std::filesystem::path scratch);
  ~RemoteStore() override;

  const DurableState& state() const override { return state_; }
  void keep_interval(int levels) override;
  comm::Bytes load_record(RecordKey key) override;
  void save_record(RecordKey key, comm::Bytes bytes, Acknowledge acknowledge) override;
  void delete_record(RecordKey key) override;
  std::filesystem::path segment_draft(std::int64_t first_frame) override;
  Segment commit_segment(Segment segment) override;
  void note_evaluations(std::int64_t) override {}  // attempt.progress says it
  void flush() override;

  // A message of this attempt: acknowledgements, refusals, records that were asked for.
  void handle(const comm::ControlMessage& message);
  // The attempt is over: everybody who waits gets kCancelled with the reason.
  void end(const std::string& why);

 private:
  void check_ended() const;
  void refuse(const nlohmann::json& header);
  void refuse_all(const Error& error);
  void acknowledge_all(const Error& error, std::multimap<RecordKey, Acknowledge> waiting);
  void acknowledgements_done();

  GangLink& link_;
  const AttemptName name_;
  const std::filesystem::path scratch_;
  DurableState state_;
  const nlohmann::json identity_;      // all parts
  std::optional<int> known_interval_;  // of earlier attempts whose work counts

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::string> ended_;
  std::multimap<RecordKey, Acknowledge> saving_;
  int acknowledging_ = 0;  // threads that call what they took out of saving_
  // Records that are on their way: ranks of several groups may ask for the same one at once.
  struct Loading {
    std::optional<comm::Bytes> bytes;
    int waiting = 0;
  };
  std::map<RecordKey, Loading> loading_;
  std::map<std::int64_t, bool> committing_;  // by first frame: acknowledged
  std::optional<Error> refused_;
};

// Lets the engine own a store that others still talk to.
class SharedStore : public DurableStore {
 public:
  explicit SharedStore(std::shared_ptr<DurableStore> store) : store_(std::move(store)) {}
  const DurableState& state() const override { return store_->state(); }
  void keep_interval(int levels) override { store_->keep_interval(levels); }
  comm::Bytes load_record(RecordKey key) override { return store_->load_record(key); }
  void save_record(RecordKey key, comm::Bytes bytes, Acknowledge acknowledge) override {
    store_->save_record(key, std::move(bytes), std::move(acknowledge));
  }
  void delete_record(RecordKey key) override { store_->delete_record(key); }
  std::filesystem::path segment_draft(std::int64_t first_frame) override {
    return store_->segment_draft(first_frame);
  }
  Segment commit_segment(Segment segment) override {
    return store_->commit_segment(std::move(segment));
  }
  void note_evaluations(std::int64_t count) override { store_->note_evaluations(count); }
  void flush() override { store_->flush(); }

 private:
  std::shared_ptr<DurableStore> store_;
};

}  // namespace seamwright::worker

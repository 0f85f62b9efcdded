// Rank 0's part in recovery: hands records to the store, says what became durable, forgets records
// that no resume can need any more.
// Threads: calls from any thread; events come on the keeper's own thread, one at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "scheduling/plan.h"
#include "worker/durable_store.h"

namespace seamwright::worker {

class RecordKeeper {
 public:
  struct Events {
    std::function<void(const std::vector<RecordKey>& durable, int first_missing_frame)> durable;
    std::function<void(const Error&)> failed;  // once
  };

  RecordKeeper(const scheduling::PlanRequest& request, DurableStore& store, Events events);
  ~RecordKeeper();  // waits for what was saved
  RecordKeeper(const RecordKeeper&) = delete;
  RecordKeeper& operator=(const RecordKeeper&) = delete;

  // None of these blocks, whatever the store does: they are called where mail arrives. Of one frame
  // (causal: window), records come in ascending levels; one that comes
  // from a second owner as well is saved once.
  void save(RecordKey key, comm::Bytes bytes);
  void load(RecordKey key, std::function<void(comm::Bytes)> loaded);
  void published(int first_missing_frame);

  std::int64_t records_saved() const;
  std::int64_t bytes_saved() const;

 private:
  struct Save {
    RecordKey key;
    comm::Bytes bytes;
  };
  struct Load {
    RecordKey key;
    std::function<void(comm::Bytes)> loaded;
  };

  void run();
  void hand_over(Save save);
  void take_durable(const std::vector<RecordKey>& durable, int first_missing_frame);
  void sweep();
  void fail_with(const Error& error);

  const scheduling::PlanRequest request_;
  const scheduling::WindowSchedule schedule_;  // its own: it lists windows on demand
  DurableStore& store_;
  const Events events_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, int> accepted_;  // newest level by frame or window, durable or on its way
  std::vector<Save> saves_;      // not yet with the store
  std::vector<RecordKey> durable_;
  std::vector<Load> loads_;
  int first_missing_frame_ = 0;
  bool stopping_ = false, failed_ = false;
  std::int64_t records_saved_ = 0, bytes_saved_ = 0;

  // The keeper's thread only.
  std::map<int, std::set<int>> live_;  // levels by frame or window
  std::size_t live_count_ = 0, added_ = 0;
  int published_ = 0;

  std::thread thread_;
};

}  // namespace seamwright::worker

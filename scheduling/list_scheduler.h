// List scheduling in virtual time: ranks pick their best ready task, messages travel in the order
// they became ready, and what happens becomes the plan. It knows nothing of windows and steps.
//
// Every edge of the resulting plan (task order, message order, data, buffers) points forward in
// this virtual history, so the plan has no cycle and cannot deadlock, even with sends that wait
// for their receive.
// Threads: one object per thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <queue>
#include <set>
#include <unordered_map>
#include <vector>

#include "scheduling/plan.h"
#include "scheduling/planner.h"

namespace seamwright::scheduling {

// Smaller goes first.
using Priority = std::array<int, 5>;

// What a ready task produces, before anybody read it.
struct Output {
  DataId id;
  std::int64_t bytes = 0;
  int reads = 0;  // by tasks of the same rank
  int sends = 0;
};

struct ReadyTask {
  Task task;
  int rank = 0;
  double seconds = 0.0;  // at speed 1
  Priority priority{};
  std::vector<DataId> inputs;
  std::vector<Output> outputs;
  bool checkpoint = false;
  int durable_level = -1;
};

// Decides what becomes ready when something happens; calls back into the scheduler.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual void start() = 0;
  // Every chunk of frames was emitted.
  virtual bool complete() const = 0;
  virtual void on_done(const PlannedTask& task) = 0;
  virtual void on_arrival(const Message& message) = 0;
};

class ListScheduler {
 public:
  ListScheduler(const Layout& layout, const CostTable& costs, const PlanOptions& options);

  void ready(ReadyTask task);
  // A message of data that the source holds. `data` is as it will lie at the destination, which
  // may not take it before position `receive_after` (one that is complete by now) and not further
  // ahead of the planned moment than the slack allows.
  void send(int source, int destination, std::vector<DataRef> data, std::vector<int> positions,
            std::int64_t receive_after = -1);

  // Runs until at least `tasks` more were placed or nothing is left to happen.
  void run(Driver& driver, int tasks);
  // Takes what was decided since the last call.
  PlanChunk take();

  // Nothing is under way or waiting any more.
  bool drained() const { return events_.empty() && waiting_.empty() && touched_.empty(); }
  std::int64_t now_ns() const { return now_ns_; }
  std::int64_t end_ns() const { return end_ns_; }
  std::uint64_t hash() const { return hash_; }
  // Bytes alive at most, per rank; fixed bytes not included.
  const std::vector<std::int64_t>& live_bytes_max();

 private:
  struct Event {
    std::int64_t time_ns = 0;
    std::uint64_t order = 0;  // of creation: the tie-break that keeps everything deterministic
    bool is_message = false;
    std::uint64_t key = 0;  // rank of the finished task, or message index
    bool operator>(const Event& o) const {
      return time_ns != o.time_ns ? time_ns > o.time_ns : order > o.order;
    }
  };
  struct Waiting {
    Priority priority{};
    std::uint64_t order = 0;
    std::uint64_t slot = 0;
    bool operator>(const Waiting& o) const {
      return priority != o.priority ? priority > o.priority : order > o.order;
    }
  };
  // A piece of data on a rank and the positions during which it must be there.
  struct Held {
    std::int64_t bytes = 0;
    std::int64_t producer = -1;  // position, or -1 for what came by message
    std::int64_t message = -1;
    std::int64_t last_use = 0;
    int reads = 0;
    int sends = 0;
  };
  struct Rank {
    bool busy = false;
    std::int64_t placed = 0;
    std::int64_t finished = 0;
    std::int64_t link_free_ns = 0;
    PlannedTask running;
    std::priority_queue<Waiting, std::vector<Waiting>, std::greater<>> ready;
    std::unordered_map<DataId, Held, DataIdHash> held;
    std::map<std::int64_t, std::vector<std::int64_t>> sends_done;  // position -> messages
    std::map<std::int64_t, std::int64_t> byte_changes;             // position -> bytes
    std::int64_t live_bytes = 0;
    std::int64_t live_bytes_max = 0;
  };

  void place(int rank);
  void finish_task(int rank, Driver& driver);
  void finish_message(std::uint64_t index, Driver& driver);
  void consume(Rank& rank, const DataId& id, std::int64_t position,
               std::vector<std::int64_t>& receives);
  void release_if_unused(Rank& rank, const DataId& id);
  void fold_live_bytes(Rank& rank, std::int64_t below);
  int slack(const DataId& id) const;
  void mix(std::uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001B3ULL; }
  void mix(const PlannedTask& task);
  void mix(const Message& message);

  Layout layout_;
  CostTable costs_;
  PlanOptions options_;
  std::vector<Rank> ranks_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::set<int> touched_;  // ranks that may be able to start something
  std::unordered_map<std::uint64_t, ReadyTask> waiting_;
  std::map<std::int64_t, Message> travelling_;
  PlanChunk chunk_;
  std::vector<std::int64_t> live_bytes_max_;
  std::int64_t next_message_ = 0;
  std::int64_t margin_ns_ = 0, activation_margin_ns_ = 0;
  std::uint64_t order_ = 0;
  std::int64_t now_ns_ = 0;
  std::int64_t end_ns_ = 0;
  std::uint64_t hash_ = 0xCBF29CE484222325ULL;
};

}  // namespace seamwright::scheduling

// Walks a plan, chunk by chunk, in one legal order with zero-buffer messages: what every rank
// would do, without clocks. A plan is a marked graph, so if one order gets through, all do.
// Threads: one object per thread.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "scheduling/plan.h"

namespace seamwright::scheduling {

class PlanVisitor {
 public:
  virtual ~PlanVisitor() = default;
  virtual void on_task(const PlannedTask& task) = 0;
  virtual void on_message(const Message& message) = 0;
};

class PlanWalker {
 public:
  explicit PlanWalker(int ranks);

  void add(const PlanChunk& chunk);
  void add(PlannedTask task);
  void add(const Message& message);
  // Goes as far as possible. Returns "" when everything added was walked, else where it is stuck.
  std::string run(PlanVisitor& visitor);

 private:
  struct Rank {
    std::deque<PlannedTask> tasks;
    std::deque<Message> messages;  // sends and receives, ascending
    std::int64_t completed = 0;
    std::int64_t last_passed = -1;
  };

  bool walk_task(Rank& rank, PlanVisitor& visitor);
  // Returns the other rank, or -1.
  int walk_message(int rank, PlanVisitor& visitor);
  std::string stuck() const;

  std::vector<Rank> ranks_;
};

// One rank's part of a chunk: what its executor needs.
struct RankChunk {
  std::vector<PlannedTask> tasks;
  std::vector<Message> messages;  // its sends and receives in the global order
};
RankChunk for_rank(const PlanChunk& chunk, int rank);

}  // namespace seamwright::scheduling

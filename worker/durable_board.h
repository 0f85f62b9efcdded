// What one rank knows to be durable, and which tasks that allows to count as done.
// Threads: add() and has() from any thread; allows() from one thread at a time.
#pragma once

#include <map>
#include <mutex>
#include <span>

#include "scheduling/plan.h"
#include "scheduling/resume.h"
#include "worker/durable_store.h"

namespace seamwright::worker {

class DurableBoard {
 public:
  DurableBoard(const scheduling::PlanRequest& request, const scheduling::ResumeState& resume);

  void add(std::span<const RecordKey> durable, int first_missing_frame);
  // Whether this record, or a newer one of the same frame (causal: window), is durable.
  bool has(RecordKey key) const;
  // No evaluation is done before the records from which its window would go on are durable
  // (PlannedTask::durable_level).
  bool allows(const scheduling::PlannedTask& task) const;

 private:
  int newest(int at) const;

  const bool causal_;
  const int steps_;
  scheduling::WindowSchedule schedule_;  // its own: it lists windows on demand
  mutable std::mutex mutex_;
  std::map<int, int> newest_;
  int first_missing_frame_ = 0;
};

}  // namespace seamwright::worker

// What a rank's engine drives: something that executes planned tasks, really or in emulation.
// Threads: one thread at a time; the store may be filled by another.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "scheduling/plan.h"
#include "worker/data_store.h"

namespace seamwright::worker {

using TaskOutputs = std::vector<std::pair<scheduling::DataId, std::shared_ptr<Datum>>>;

class TaskExecutor {
 public:
  virtual ~TaskExecutor() = default;
  // Reads the task's inputs from the store, puts its outputs there, and uses the inputs up.
  virtual void run(const scheduling::PlannedTask& planned) = 0;
};

// Puts what a task made into the store, and uses its inputs up. Throws kInternal when something
// that the plan expects is missing.
void publish(const scheduling::PlannedTask& planned, TaskOutputs made, DataStore& store);

}  // namespace seamwright::worker

#include "worker/task_executor.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::worker {

void publish(const scheduling::PlannedTask& planned, TaskOutputs made, DataStore& store) {
  for (const auto& ref : planned.outputs) {
    const auto found = std::ranges::find(
        made, ref.id, &std::pair<scheduling::DataId, std::shared_ptr<Datum>>::first);
    ensure(found != made.end(), "{} does not make {}", scheduling::to_string(planned.task),
           scheduling::to_string(ref.id));
    store.put(ref, std::move(found->second));
  }
  for (const auto& id : planned.inputs) store.use(id);
}

}  // namespace seamwright::worker

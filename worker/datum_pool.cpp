#include "worker/datum_pool.h"

#include <utility>

namespace seamwright::worker {

std::shared_ptr<DatumPool> DatumPool::make(std::size_t kept) {
  return std::shared_ptr<DatumPool>(new DatumPool(kept));
}

std::shared_ptr<Datum> DatumPool::take(std::size_t values) {
  std::unique_ptr<Datum> datum;
  {
    const std::lock_guard lock(mutex_);
    auto& free = free_[values];
    if (!free.empty()) {
      datum = std::move(free.back());
      free.pop_back();
    }
  }
  if (!datum) {
    datum = std::make_unique<Datum>();
    datum->values.resize(values);
  }
  datum->positions.clear();
  return {datum.release(), [pool = shared_from_this()](Datum* used) {
            pool->give_back(std::unique_ptr<Datum>(used));
          }};
}

void DatumPool::give_back(std::unique_ptr<Datum> datum) {
  const std::lock_guard lock(mutex_);
  auto& free = free_[datum->values.size()];
  if (free.size() < kept_) free.push_back(std::move(datum));
}

}  // namespace seamwright::worker

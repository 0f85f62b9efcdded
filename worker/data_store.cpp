#include "worker/data_store.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::worker {

std::span<const float> Datum::row(int position, std::size_t row_size) const {
  std::size_t at = static_cast<std::size_t>(position);
  if (!positions.empty()) {
    const auto found = std::lower_bound(positions.begin(), positions.end(), position);
    ensure(found != positions.end() && *found == position, "position {} was not sent", position);
    at = static_cast<std::size_t>(found - positions.begin());
  }
  ensure((at + 1) * row_size <= values.size(), "position {} is outside its window", position);
  return {values.data() + at * row_size, row_size};
}

void DataStore::put(const scheduling::DataRef& ref, std::shared_ptr<Datum> datum) {
  const std::lock_guard lock(mutex_);
  if (ref.uses == 0) return;
  const bool added = entries_.emplace(ref.id, Entry{std::move(datum), ref.bytes, ref.uses}).second;
  ensure(added, "{} was produced twice", scheduling::to_string(ref.id));
  live_ += ref.bytes;
  peak_ = std::max(peak_, live_);
}

std::shared_ptr<Datum> DataStore::get(const scheduling::DataId& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  ensure(found != entries_.end(), "{} is needed, but is not here", scheduling::to_string(id));
  return found->second.datum;
}

void DataStore::use(const scheduling::DataId& id) {
  std::shared_ptr<Datum> last;  // freed outside the lock
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  ensure(found != entries_.end(), "{} was used up too early", scheduling::to_string(id));
  if (--found->second.uses == 0) {
    live_ -= found->second.bytes;
    last = std::move(found->second.datum);
    entries_.erase(found);
  }
}

std::int64_t DataStore::live_bytes() const {
  const std::lock_guard lock(mutex_);
  return live_;
}
std::int64_t DataStore::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}
std::size_t DataStore::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace seamwright::worker

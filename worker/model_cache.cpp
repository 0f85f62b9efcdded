#include "worker/model_cache.h"

namespace seamwright::worker {

LoadedModel ModelCache::get(const std::string& slot, const std::string& key,
                            const std::function<LoadedModel()>& make) {
  {
    const std::lock_guard lock(mutex_);
    auto& entry = entries_[slot];
    if (entry.loaded.model && entry.key == key) return entry.loaded;
    entry = {};
  }
  auto loaded = make();
  const std::lock_guard lock(mutex_);
  entries_[slot] = {key, loaded};
  return loaded;
}

}  // namespace seamwright::worker

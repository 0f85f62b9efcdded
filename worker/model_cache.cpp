#include "worker/model_cache.h"

namespace seamwright::worker {

LoadedModel loaded_model(std::shared_ptr<model::Backend> backend,
                         std::unique_ptr<const model::VideoModel> model) {
  struct Both {
    std::shared_ptr<model::Backend> backend;
    std::unique_ptr<const model::VideoModel> model;
  };
  auto both = std::make_shared<Both>();  // given back in the other order
  both->backend = backend;
  both->model = std::move(model);
  const auto* only = both->model.get();
  return {std::move(backend), std::shared_ptr<const model::VideoModel>(std::move(both), only)};
}

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

std::string ModelCache::note_of(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = notes_.find(key);
  return found == notes_.end() ? std::string() : found->second;
}

void ModelCache::set_note(const std::string& key, std::string note) {
  constexpr std::size_t kMost = 64;
  const std::lock_guard lock(mutex_);
  if (notes_.size() >= kMost) notes_.clear();
  notes_[key] = std::move(note);
}

}  // namespace seamwright::worker

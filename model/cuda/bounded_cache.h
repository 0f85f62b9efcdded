// A map that forgets what was not asked for the longest.
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <utility>

namespace seamwright::model::cuda {

template <class Key, class Value>
class BoundedCache {
 public:
  explicit BoundedCache(std::size_t limit) : limit_(limit) {}

  // Null when it is not there. Valid until the next put() or clear().
  Value* find(const Key& key) {
    const auto found = places_.find(key);
    if (found == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }
  // Replaces what is there; the oldest entries beyond the limit go.
  Value& put(const Key& key, Value value) {
    if (const auto found = places_.find(key); found != places_.end()) {
      entries_.erase(found->second);
      places_.erase(found);
    }
    while (!entries_.empty() && entries_.size() >= limit_) {
      places_.erase(entries_.back().first);
      entries_.pop_back();
    }
    entries_.emplace_front(key, std::move(value));
    places_.emplace(key, entries_.begin());
    return entries_.front().second;
  }
  void clear() {
    places_.clear();
    entries_.clear();
  }
  std::size_t size() const { return entries_.size(); }

 private:
  using Entries = std::list<std::pair<Key, Value>>;
  std::size_t limit_;
  Entries entries_;  // most recently asked for first
  std::map<Key, typename Entries::iterator> places_;
};

}  // namespace seamwright::model::cuda

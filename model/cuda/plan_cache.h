// Plans by key, made when they are first asked for, or ahead of that on threads of their own.
// Threads: one at a time; `make` also on others.
#pragma once

#include <cstddef>
#include <functional>
#include <future>
#include <map>
#include <utility>

#include "model/cuda/bounded_cache.h"

namespace seamwright::model::cuda {

template <class Key, class Plan>
class PlanCache {
 public:
  // `make` must not throw what should be asked for again: a failure is a plan too.
  PlanCache(std::size_t limit, std::function<Plan(const Key&)> make)
      : make_(std::move(make)), known_(limit) {}

  // While it is on, ask() makes nothing itself.
  void ahead(bool on) { ahead_ = on; }

  // Null where planning ahead is on and the plan not there yet: it is then under way.
  // Valid until the next call.
  const Plan* ask(const Key& key) {
    if (!ahead_ || known_.find(key) != nullptr) return &get(key);
    if (!under_way_.contains(key)) {
      under_way_.emplace(key, std::async(std::launch::async, make_, key));
    }
    return nullptr;
  }

  // Waits for a plan that is under way. Valid until the next call.
  const Plan& get(const Key& key) {
    if (const Plan* known = known_.find(key)) return *known;
    const auto begun = under_way_.find(key);
    if (begun == under_way_.end()) return known_.put(key, make_(key));
    Plan made = begun->second.get();
    under_way_.erase(begun);
    return known_.put(key, std::move(made));
  }

  // Waits for what is under way.
  void clear() {
    under_way_.clear();
    known_.clear();
  }

 private:
  std::function<Plan(const Key&)> make_;
  BoundedCache<Key, Plan> known_;
  std::map<Key, std::future<Plan>> under_way_;
  bool ahead_ = false;
};

}  // namespace seamwright::model::cuda

#include "coordinator/service/timelines.h"

namespace seamwright::coordinator {
namespace {

// Of one rank; the oldest go first.
constexpr std::size_t kSpansKept = 4000;

}  // namespace

void Timelines::add(const std::string& job, int rank, const nlohmann::json& spans) {
  if (!spans.is_array()) return;
  const std::lock_guard lock(mutex_);
  auto& all = jobs_[job][rank];
  if (all.is_null()) all = nlohmann::json::array();
  for (const auto& span : spans) all.push_back(span);
  if (all.size() > kSpansKept) {
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() - kSpansKept));
  }
}

nlohmann::json Timelines::document(const std::map<int, nlohmann::json>& ranks) {
  auto list = nlohmann::json::array();
  for (const auto& [rank, tasks] : ranks) list.push_back({{"rank", rank}, {"tasks", tasks}});
  return {{"ranks", list}};
}

nlohmann::json Timelines::get(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  const auto found = jobs_.find(job);
  return document(found == jobs_.end() ? std::map<int, nlohmann::json>() : found->second);
}

nlohmann::json Timelines::take(const std::string& job) {
  const std::lock_guard lock(mutex_);
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return document({});
  auto result = document(found->second);
  jobs_.erase(found);
  return result;
}

}  // namespace seamwright::coordinator

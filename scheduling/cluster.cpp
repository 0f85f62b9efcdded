#include "scheduling/cluster.h"

#include <fmt/core.h>

#include <algorithm>
#include <tuple>

namespace seamwright::scheduling {
namespace {

bool has_model(const GangOffer& gang, const std::string& model) {
  return std::find(gang.models.begin(), gang.models.end(), model) != gang.models.end();
}

// The best ready gang for a job, or none.
GangOffer* best_gang(std::vector<GangOffer>& gangs, const WaitingJob& job) {
  GangOffer* best = nullptr;
  const auto rank = [&](const GangOffer& g) {
    return std::tuple(g.id != job.avoid_gang, g.loaded_model == job.model, g.ranks);
  };
  for (auto& gang : gangs) {
    if (!gang.ready || !has_model(gang, job.model)) continue;
    if (best == nullptr || rank(gang) > rank(*best)) best = &gang;
  }
  return best;
}

std::string waiting_reason(const std::vector<GangOffer>& gangs, const WaitingJob& job, int ahead) {
  if (gangs.empty()) return "no gang is connected";
  std::vector<const GangOffer*> able;
  for (const auto& gang : gangs) {
    if (has_model(gang, job.model)) able.push_back(&gang);
  }
  if (able.empty()) return fmt::format("no connected gang has the model '{}'", job.model);
  const auto busy =
      std::count_if(able.begin(), able.end(), [](const GangOffer* g) { return !g->runs.empty(); });
  if (busy == 0) {
    return fmt::format(
        "gang {} takes no work: {}", able.front()->id,
        able.front()->unready_reason.empty() ? "it is starting" : able.front()->unready_reason);
  }
  const std::string queue =
      ahead == 0 ? "" : fmt::format(", and {} job{} ahead", ahead, ahead == 1 ? " is" : "s are");
  return able.size() == 1 ? fmt::format("gang {} is busy{}", able.front()->id, queue)
                          : fmt::format("{} of {} gangs are busy{}", busy, able.size(), queue);
}

}  // namespace

ClusterDecision decide(std::vector<WaitingJob> jobs, std::vector<GangOffer> gangs) {
  std::sort(jobs.begin(), jobs.end(), [](const WaitingJob& a, const WaitingJob& b) {
    return std::tuple(a.endless, -a.priority, a.arrival) <
           std::tuple(b.endless, -b.priority, b.arrival);
  });
  ClusterDecision decision;
  std::vector<const WaitingJob*> left;
  for (const auto& job : jobs) {
    auto* gang = best_gang(gangs, job);
    if (gang == nullptr) {
      left.push_back(&job);
      continue;
    }
    decision.starts.push_back({job.id, gang->id});
    gang->ready = false;
    gang->runs = job.id;
    gang->runs_endless = job.endless;
  }
  int position = 0;
  for (const auto* job : left) {
    decision.waiting.push_back({job->id, position, waiting_reason(gangs, *job, position)});
    ++position;
    if (job->endless) continue;
    const auto room = std::find_if(gangs.begin(), gangs.end(), [&](const GangOffer& g) {
      return g.runs_endless && has_model(g, job->model);
    });
    if (room == gangs.end()) continue;
    decision.preempt.push_back(room->runs);
    room->runs_endless = false;  // makes room for one job only
  }
  return decision;
}

}  // namespace seamwright::scheduling

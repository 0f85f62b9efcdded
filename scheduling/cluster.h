// Which job runs on which gang next, and why the others wait. A pure function of what is queued and
// what is there.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace seamwright::scheduling {

struct WaitingJob {
  std::string id;
  std::string model;
  int priority = 0;      // higher first
  bool endless = false;  // after all that have an end, whatever their priority
  std::int64_t arrival = 0;
  // A job that was lost with its gang tries another gang first, if there is one.
  std::string avoid_gang;
};

struct GangOffer {
  std::string id;
  std::vector<std::string> models;  // that it has on its disks
  std::string loaded_model;         // in memory now
  int ranks = 1;
  bool ready = true;  // connected, idle, not draining
  std::string runs;   // job that occupies it; "" = none
  bool runs_endless = false;
  std::string unready_reason;  // why it takes nothing, when it is neither ready nor busy
};

struct Assignment {
  std::string job, gang;
  bool operator==(const Assignment&) const = default;
};

struct WaitingPlace {
  std::string job;
  int position = 0;    // 0 = next
  std::string reason;  // why it is not running, for people
};

struct ClusterDecision {
  std::vector<Assignment> starts;
  std::vector<WaitingPlace> waiting;  // in queue order; without the ones that start
  std::vector<std::string> preempt;   // endless jobs that should make room, one per waiting job
};

// Jobs are served by (endless last, priority, arrival); a job no ready gang can take lets later
// ones pass. Of the gangs that can take a job: one that has its model loaded, then the larger one.
ClusterDecision decide(std::vector<WaitingJob> jobs, std::vector<GangOffer> gangs);

}  // namespace seamwright::scheduling

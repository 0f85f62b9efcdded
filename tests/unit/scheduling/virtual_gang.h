// A gang without compute: walks a plan in a random legal order with zero-buffer messages, and
// computes with hashes in place of latents, so that any lost, stale or swapped piece of data
// changes the result. Also a plain loop over the same arithmetic to compare with.
// Threads: none.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "scheduling/plan.h"
#include "scheduling/resume.h"

namespace seamwright::scheduling {

using Values = std::map<int, std::uint64_t>;  // by position, frame or 0

struct GangResult {
  std::map<int, std::uint64_t> frames;  // final value of every emitted frame
  std::vector<std::int64_t> live_bytes_max;
  std::int64_t tasks = 0;
  std::int64_t forwards = 0;
  std::set<std::pair<int, int>> steps;  // (window, step) of which an evaluation was done
  std::string problem;                  // empty when everything ran
  // Local: value by (frame, level); causal: window state by (window, level). What was computed.
  std::map<std::pair<int, int>, Values> records;
  // Which of them are durable, and not deleted since.
  std::set<std::pair<int, int>> durable;
  int first_missing_frame = 0;
  std::map<std::pair<int, int>, Values> cleans;  // causal: by (window, level)
};

class VirtualGang {
 public:
  // `recorded` supplies what source tasks load when a plan resumes.
  // Records become durable a while after the task that made them, and are deleted as soon as the
  // retention rule allows.
  VirtualGang(const Plan& plan, std::uint64_t seed, const GangResult* recorded = nullptr);
  // Stops after `stop_after` tasks when that is >= 0.
  GangResult run(std::int64_t stop_after = -1);

 private:
  struct Item {
    Values values;
    std::int64_t bytes = 0;
    int uses = 0;
  };
  struct Rank {
    std::size_t next = 0;
    bool running = false;
    std::size_t next_message = 0;
    std::vector<std::size_t> messages;
    std::map<DataId, Item> store;
    std::int64_t bytes = 0;
  };

  bool can_start(std::size_t rank) const;
  bool can_finish(std::size_t rank) const;
  bool records_are_durable(const PlannedTask& task) const;
  int durable_level(int at) const;
  int oldest_durable_level(int at) const;
  void note_record(const PlannedTask& task);
  void note_record(int at, int level);
  void flush_record();
  bool can_pass(std::size_t message) const;
  void start(std::size_t rank);
  void finish(std::size_t rank);
  void pass(std::size_t message);
  void use(Rank& rank, const DataId& id);
  const Values& read(const Rank& rank, const DataId& id) const;
  Values compute(const Rank& rank, const PlannedTask& task, const DataId& output);
  Values source(const Task& task, const DataId& output) const;
  Values advance(const Rank& rank, const Task& task, int frame) const;
  Values enter(const Rank& rank, const Task& task) const;
  std::map<int, std::uint64_t> followed(const Rank& rank, const Task& task) const;
  Values mix(const Rank& rank, const Task& task, const DataId& output) const;

  const Plan& plan_;
  const GangResult* recorded_;
  WindowSchedule schedule_;
  std::mt19937_64 random_;
  std::vector<Rank> ranks_;
  std::vector<bool> passed_;
  std::vector<std::pair<int, int>> unsafe_records_;
  GangResult result_;
};

// The final value of every frame, computed by one plain loop: no plan, no ranks.
std::map<int, std::uint64_t> plain_loop(const PlanRequest& request);

}  // namespace seamwright::scheduling

// Deliberate faults for tests: the process kills, stops or hangs itself at a named moment.
// Threads: calls from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "scheduling/plan.h"

namespace seamwright::worker {

// Text: faults separated by ';', each ACTION:MOMENT[:rank=R][:attempt=A], with rank 0 and attempt 1
// where not given. ACTION: kill (SIGKILL), stop (SIGSTOP), hang (this thread waits for ever), error
// (throws). MOMENT: task=N (before the rank's task N), load=N (before its N-th record is loaded),
// record=N, records=N, segment=N (the N-th time the store passes that step, FolderStoreOptions).
// Beside faults, slow:percent=P[:rank=R] makes a rank's U-Net visits take so many percent of the
// time they would take, at every attempt, and trace=FILE appends a line to FILE for every U-Net
// visit that is finished: attempt, milliseconds of the steady
// clock, window, step, round, branch, visit.
class Failpoints {
 public:
  Failpoints(const std::string& text, int rank, std::int64_t attempt);

  void on_task(std::int64_t position) { pass("task", position); }
  void on_load() { pass("load", ++loads_); }
  // A step of the store: record, records, segment.
  void on_step(const char* where);
  void on_done(const scheduling::PlannedTask& task) const;
  // On the rank's thread, after a task that took so long.
  void on_timed(const scheduling::PlannedTask& task, std::chrono::duration<double> took) const;
  // How many times longer a rank's visits take.
  static double slowdown(const std::string& text, int rank);

 private:
  struct Fault {
    std::string action, moment;
    std::int64_t count = 0;
  };
  void pass(const std::string& moment, std::int64_t count) const;

  std::vector<Fault> faults_;
  std::string trace_;
  double slowdown_ = 1;
  std::int64_t attempt_;
  std::atomic<std::int64_t> loads_{0}, record_{0}, records_{0}, segment_{0};
};

}  // namespace seamwright::worker

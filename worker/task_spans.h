// When the tasks of a rank ran, on their way to rank 0 as mail, a second's worth at a time.
// Threads: add() from the thread that runs tasks.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "comm/fabric.h"
#include "scheduling/plan.h"
#include "worker/gang_mail.h"

namespace seamwright::worker {

using TaskTime = std::function<void(int rank, const scheduling::Task&,
                                    std::chrono::steady_clock::time_point begin,
                                    std::chrono::steady_clock::time_point end)>;

class TaskSpans {
 public:
  TaskSpans(comm::Fabric& fabric, std::uint32_t run) : fabric_(fabric), run_(run) {}

  void add(const scheduling::Task& task, std::chrono::steady_clock::time_point begin,
           std::chrono::steady_clock::time_point end);
  void send();  // what is not sent yet

 private:
  comm::Fabric& fabric_;
  const std::uint32_t run_;
  std::vector<std::int64_t> numbers_;
  std::chrono::steady_clock::time_point sent_{};
};

// At rank 0: hands a mail's tasks to the hook. Clocks of hosts are compared by the time of day.
void read_spans(int from, const GangMail& mail, const TaskTime& hook);

}  // namespace seamwright::worker

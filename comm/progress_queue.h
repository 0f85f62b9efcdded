// A thread that runs jobs one at a time in the order they were given. Private to comm.
// Threads: push() from any thread, jobs included.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "comm/signal.h"

namespace seamwright::comm {

class ProgressQueue {
 public:
  using Job = std::function<void()>;

  explicit ProgressQueue(std::chrono::nanoseconds spin = {});
  ~ProgressQueue();  // as stop()

  // A job given after stop() is dropped.
  void push(Job job);
  // Runs what is queued, then ends the thread. Not from a job.
  void stop();

 private:
  void run();

  Signal signal_;
  std::mutex mutex_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace seamwright::comm

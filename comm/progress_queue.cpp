#include "comm/progress_queue.h"

#include <utility>

namespace seamwright::comm {

ProgressQueue::ProgressQueue(std::chrono::nanoseconds spin)
    : signal_(spin), thread_([this] { run(); }) {}

ProgressQueue::~ProgressQueue() { stop(); }

void ProgressQueue::push(Job job) {
  {
    std::scoped_lock lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(job));
  }
  signal_.notify();
}

void ProgressQueue::stop() {
  {
    std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  signal_.notify();
  if (thread_.joinable()) thread_.join();
}

void ProgressQueue::run() {
  for (;;) {
    const std::uint64_t seen = signal_.epoch();
    std::deque<Job> batch;
    bool last = false;
    {
      std::scoped_lock lock(mutex_);
      batch.swap(jobs_);
      last = stopping_;
    }
    for (Job& job : batch) {
      job();
      job = nullptr;  // let go of its buffers before the next one runs
    }
    if (batch.empty()) {
      if (last) return;
      signal_.wait_past(seen, Signal::Clock::time_point::max());
    }
  }
}

}  // namespace seamwright::comm

#include "coordinator/service/side_thread.h"

#include "base/log.h"

namespace seamwright::coordinator {

SideThread::SideThread() : thread_([this] { loop(); }) {}

SideThread::~SideThread() { stop(); }

void SideThread::post(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  queue_.push_back(std::move(work));
  changed_.notify_all();
}

void SideThread::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

std::size_t SideThread::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

void SideThread::loop() {
  while (true) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    try {
      work();
    } catch (const std::exception& error) {
      log_error("the service's files: {}", error.what());
    }
  }
}

}  // namespace seamwright::coordinator

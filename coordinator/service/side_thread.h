// Work that takes long (files, records, putting videos together), one piece after another, away
// from the thread that answers.
// Threads: post from any thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace seamwright::coordinator {

class SideThread {
 public:
  SideThread();
  ~SideThread();  // finishes what was posted
  SideThread(const SideThread&) = delete;
  SideThread& operator=(const SideThread&) = delete;

  // Exceptions are logged: work that can fail handles them itself.
  void post(std::function<void()> work);
  void stop();
  std::size_t waiting() const;

 private:
  void loop();
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace seamwright::coordinator

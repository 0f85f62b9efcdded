// Says at intervals that something goes on which cannot be watched step by step, such as loading a
// model; for a limited time, as it might hang.
// Threads: one thread of its own, on which `beat` is called.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace seamwright::worker {

class Pulse {
 public:
  // Without `beat` nothing happens.
  Pulse(std::function<void()> beat, std::chrono::milliseconds interval,
        std::chrono::milliseconds limit);
  ~Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace seamwright::worker

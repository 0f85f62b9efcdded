// Writes decoded frames beside denoising: a short queue, and a thread that takes from it.
// Threads: add(), drain() and the destructor from one thread; `write` is called on one thread of
// its own, in order. What `write` uses may be used by others once drain() has returned or thrown,
// and until the next add().
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "worker/task_runner.h"

namespace seamwright::worker {

class OutputThread {
 public:
  using Write = std::function<void(const DecodedChunk&)>;

  // Held at a time, with the one that is being written. Two always may be: else nothing would run
  // beside anything.
  struct Limits {
    std::size_t chunks = 4;
    std::size_t bytes = std::size_t{64} << 20;
  };

  explicit OutputThread(Write write) : OutputThread(std::move(write), Limits{}) {}
  OutputThread(Write write, Limits limits);
  ~OutputThread();  // waits for the chunk under way; what waits behind it is not written
  OutputThread(const OutputThread&) = delete;
  OutputThread& operator=(const OutputThread&) = delete;

  // Takes part in the chunk's owner. Blocks while the queue is full. Throws what `write` threw for
  // an earlier chunk, here and ever after; later chunks are then not written.
  void add(DecodedChunk chunk);
  // Blocks until everything added is written, or throws as add(). `gets_on` is called on this
  // thread whenever a chunk was finished meanwhile.
  void drain(const std::function<void()>& gets_on = {});

  // Spent in `write`; before it, until pixels had arrived; and by the caller, waiting for either.
  double busy_seconds() const;
  double arrival_seconds() const;
  double wait_seconds() const { return wait_seconds_; }

 private:
  void run();
  bool has_room(std::size_t bytes) const;

  const Write write_;
  const Limits limits_;
  double wait_seconds_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable work_, room_;  // for the thread; for the caller
  std::deque<DecodedChunk> queue_;       // front: being written
  std::size_t bytes_ = 0;                // of the queue
  double busy_seconds_ = 0, arrival_seconds_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace seamwright::worker

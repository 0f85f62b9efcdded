#include "worker/output_thread.h"

#include <chrono>
#include <utility>

#include "base/error.h"

namespace seamwright::worker {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::size_t bytes_of(const DecodedChunk& chunk) {
  return chunk.digests.size_bytes() + chunk.pixels.size_bytes() + chunk.latents.size_bytes();
}

}  // namespace

OutputThread::OutputThread(Write write, Limits limits)
    : write_(std::move(write)), limits_(limits), thread_([this] { run(); }) {}

OutputThread::~OutputThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  thread_.join();
}

bool OutputThread::has_room(std::size_t bytes) const {
  if (queue_.size() < 2) return true;
  return queue_.size() < limits_.chunks && bytes_ + bytes <= limits_.bytes;
}

void OutputThread::add(DecodedChunk chunk) {
  ensure(chunk.owner != nullptr,
         "frames {} on have no owner, so they may go before they are written", chunk.first_frame);
  const auto bytes = bytes_of(chunk);
  const auto begin = Clock::now();
  {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return failure_ || has_room(bytes); });
    if (failure_) std::rethrow_exception(failure_);
    bytes_ += bytes;
    queue_.push_back(std::move(chunk));
  }
  work_.notify_all();
  wait_seconds_ += seconds_since(begin);
}

void OutputThread::drain(const std::function<void()>& gets_on) {
  const auto begin = Clock::now();
  std::unique_lock lock(mutex_);
  while (!failure_ && !queue_.empty()) {
    const auto left = queue_.size();
    room_.wait(lock, [&] { return failure_ || queue_.size() < left; });
    if (!gets_on) continue;
    lock.unlock();
    gets_on();
    lock.lock();
  }
  wait_seconds_ += seconds_since(begin);
  if (failure_) std::rethrow_exception(failure_);
}

double OutputThread::busy_seconds() const {
  const std::lock_guard lock(mutex_);
  return busy_seconds_;
}

double OutputThread::arrival_seconds() const {
  const std::lock_guard lock(mutex_);
  return arrival_seconds_;
}

void OutputThread::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const auto& chunk = queue_.front();  // stays where it is while others are added
    lock.unlock();
    std::exception_ptr failure;
    const auto taken = Clock::now();
    auto begin = taken;
    try {
      if (chunk.arrive) chunk.arrive();
      begin = Clock::now();
      write_(chunk);
    } catch (...) {
      failure = std::current_exception();
    }
    const double seconds = seconds_since(begin);
    const double arrival = std::chrono::duration<double>(begin - taken).count();
    std::deque<DecodedChunk> done;  // let go of without the lock
    lock.lock();
    busy_seconds_ += seconds;
    arrival_seconds_ += arrival;
    if (failure) {
      failure_ = failure;
      done.swap(queue_);
      bytes_ = 0;
    } else {
      bytes_ -= bytes_of(queue_.front());
      done.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    lock.unlock();
    room_.notify_all();
    done.clear();
    lock.lock();
    if (failure_) return;
  }
}

}  // namespace seamwright::worker

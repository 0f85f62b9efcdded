#include "model/cuda/readback.h"

#include <cstring>
#include <exception>
#include <mutex>

#include "model/cuda/memory.h"

namespace seamwright::model::cuda {
namespace {

// One copy. Under its buffer's lock.
struct Passage {
  std::span<std::byte> host;  // empty: nobody wants it any more
  bool over = false;
  std::exception_ptr failure;
};

}  // namespace

// Pinned memory, and the copy that is on its way through it.
class Readbacks::Buffer {
 public:
  explicit Buffer(std::shared_ptr<CudaCalls> calls)
      : calls_(std::move(calls)), passed_(calls_->create_event()) {}
  ~Buffer() {
    if (current_) collect();  // the device may be writing to it
    if (pinned_ != nullptr) calls_->free_pinned(pinned_);
    calls_->destroy_event(passed_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::shared_ptr<Passage> start(const void* device, std::span<std::byte> host, Stream stream) {
    const std::lock_guard lock(mutex_);
    if (current_) collect();
    make_room(host.size());
    calls_->to_host(device, pinned_, host.size(), stream);
    calls_->record(passed_, stream);
    current_ = std::make_shared<Passage>();
    current_->host = host;
    return current_;
  }

  void wait(Passage& passage) {
    const std::lock_guard lock(mutex_);
    if (!passage.over) collect();
    if (passage.failure) std::rethrow_exception(passage.failure);
  }

  void forget(Passage& passage) {
    const std::lock_guard lock(mutex_);
    passage.host = {};
  }

 private:
  // Under the lock: the bytes of the copy under way to where they are wanted.
  void collect() noexcept {
    const auto passage = std::exchange(current_, nullptr);
    try {
      calls_->bind_thread();
      calls_->wait_for_event(passed_);
      if (!passage->host.empty()) std::memcpy(passage->host.data(), pinned_, passage->host.size());
    } catch (...) {
      passage->failure = std::current_exception();
    }
    passage->over = true;
  }

  void make_room(std::size_t bytes) {
    if (bytes <= bytes_) return;
    if (pinned_ != nullptr) calls_->free_pinned(pinned_);
    pinned_ = nullptr;
    bytes_ = 0;
    pinned_ = calls_->allocate_pinned(DevicePool::size_class(bytes));
    bytes_ = DevicePool::size_class(bytes);
  }

  std::shared_ptr<CudaCalls> calls_;
  Event passed_;
  std::mutex mutex_;
  std::byte* pinned_ = nullptr;
  std::size_t bytes_ = 0;
  std::shared_ptr<Passage> current_;  // null: none
};

class Readbacks::UnderWay final : public Readback {
 public:
  UnderWay(std::shared_ptr<Buffer> buffer, std::shared_ptr<Passage> passage)
      : buffer_(std::move(buffer)), passage_(std::move(passage)) {}
  ~UnderWay() override { buffer_->forget(*passage_); }
  void wait() override { buffer_->wait(*passage_); }

 private:
  std::shared_ptr<Buffer> buffer_;
  std::shared_ptr<Passage> passage_;
};

Readbacks::Readbacks(std::shared_ptr<CudaCalls> calls, Stream compute)
    : calls_(std::move(calls)), compute_(compute) {
  for (auto& buffer : buffers_) buffer = std::make_shared<Buffer>(calls_);
}

Readbacks::~Readbacks() = default;

std::unique_ptr<Readback> Readbacks::start(const void* device, std::span<std::byte> host) {
  const auto& buffer = buffers_[next_];
  next_ = (next_ + 1) % buffers_.size();
  return std::make_unique<UnderWay>(buffer, buffer->start(device, host, compute_));
}

}  // namespace seamwright::model::cuda

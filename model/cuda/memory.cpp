#include "model/cuda/memory.h"

#include <algorithm>
#include <bit>

namespace seamwright::model::cuda {

DevicePool::~DevicePool() { free_kept(); }

std::size_t DevicePool::size_class(std::size_t bytes) {
  constexpr std::size_t kLeast = 512;
  if (bytes <= kLeast) return kLeast;
  const std::size_t step = std::max(std::bit_floor(bytes) / 8, kLeast);
  return (bytes + step - 1) / step * step;
}

void* DevicePool::allocate(std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  const std::lock_guard lock(mutex_);
  void* data = nullptr;
  if (const auto found = kept_.find(size); found != kept_.end()) {
    data = found->second;
    kept_.erase(found);
  } else {
    data = from_device(size);
  }
  report_.in_use_bytes += size;
  report_.peak_bytes = std::max(report_.peak_bytes, report_.in_use_bytes);
  return data;
}

void* DevicePool::from_device(std::size_t size) {
  calls_->bind_thread();
  void* data = nullptr;
  try {
    data = calls_->allocate_device(size);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResource || kept_.empty()) throw;
    free_kept();  // what is kept in other sizes may be enough
    data = calls_->allocate_device(size);
  }
  report_.held_bytes += size;
  report_.held_peak_bytes = std::max(report_.held_peak_bytes, report_.held_bytes);
  return data;
}

void DevicePool::release(void* data, std::size_t bytes) noexcept {
  const std::size_t size = size_class(bytes);
  const std::lock_guard lock(mutex_);
  report_.in_use_bytes -= size;
  kept_.emplace(size, data);
}

// Freeing device memory waits for all work that may use it.
void DevicePool::free_kept() {
  for (const auto& [size, data] : kept_) {
    calls_->free_device(data);
    report_.held_bytes -= size;
  }
  kept_.clear();
}

DevicePool::Report DevicePool::report() const {
  const std::lock_guard lock(mutex_);
  return report_;
}

PinnedRing::PinnedRing(std::shared_ptr<CudaCalls> calls, Stream stream)
    : calls_(std::move(calls)), stream_(stream) {}

PinnedRing::~PinnedRing() {
  for (Slot& slot : slots_) {
    if (slot.data != nullptr) calls_->free_pinned(slot.data);
    if (slot.passed != nullptr) calls_->destroy_event(slot.passed);
  }
}

std::span<std::byte> PinnedRing::next(std::size_t bytes) {
  ensure(bytes <= kSlotBytes, "{} bytes do not fit a pinned buffer", bytes);
  current_ = (current_ + 1) % slots_.size();
  Slot& slot = slots_[current_];
  if (slot.passed == nullptr) slot.passed = calls_->create_event();
  if (slot.used) calls_->wait_for_event(slot.passed);
  slot.used = false;
  if (slot.bytes < bytes) {
    if (slot.data != nullptr) calls_->free_pinned(slot.data);
    slot.data = nullptr;
    slot.bytes = 0;
    const std::size_t size = DevicePool::size_class(bytes);
    slot.data = calls_->allocate_pinned(size);
    slot.bytes = size;
  }
  return {slot.data, bytes};
}

void PinnedRing::send(std::size_t bytes, void* device) {
  Slot& slot = slots_[current_];
  calls_->to_device(slot.data, device, bytes, stream_);
  calls_->record(slot.passed, stream_);
  slot.used = true;
}

}  // namespace seamwright::model::cuda

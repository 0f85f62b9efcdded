// Device memory that is kept for reuse, and pinned memory that copies pass through.
// Threads: DevicePool from any thread; PinnedRing from one at a time.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>

#include "model/cuda/calls.h"

namespace seamwright::model::cuda {

// Blocks given back are kept and handed out again for the same size class. Reuse is ordered on the
// compute stream; whoever writes such memory from another stream waits for that one first.
class DevicePool final : public Allocator {
 public:
  explicit DevicePool(std::shared_ptr<CudaCalls> calls) : calls_(std::move(calls)) {}
  ~DevicePool() override;
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;

  void* allocate(std::size_t bytes) override;  // 256-byte aligned
  void release(void* data, std::size_t bytes) noexcept override;

  struct Report {
    std::size_t in_use_bytes = 0, peak_bytes = 0;     // as asked for, in size classes
    std::size_t held_bytes = 0, held_peak_bytes = 0;  // from the device, in use or kept
  };
  Report report() const;
  // Eighths of powers of two: at most an eighth is wasted, and sizes repeat.
  static std::size_t size_class(std::size_t bytes);

 private:
  void* from_device(std::size_t size);
  void free_kept();

  std::shared_ptr<CudaCalls> calls_;
  mutable std::mutex mutex_;
  std::multimap<std::size_t, void*> kept_;
  Report report_;
};

// Host memory on its way to the device: filled by the caller,
// free again when the stream has passed.
class PinnedRing {
 public:
  PinnedRing(std::shared_ptr<CudaCalls> calls, Stream stream);
  ~PinnedRing();
  PinnedRing(const PinnedRing&) = delete;
  PinnedRing& operator=(const PinnedRing&) = delete;

  static constexpr std::size_t kSlotBytes = std::size_t{16} << 20;
  // At most kSlotBytes; waits until the oldest slot's copy is over.
  std::span<std::byte> next(std::size_t bytes);
  // Sends what next() returned last.
  void send(std::size_t bytes, void* device);

 private:
  struct Slot {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    Event passed = nullptr;
    bool used = false;
  };
  std::shared_ptr<CudaCalls> calls_;
  Stream stream_;
  std::array<Slot, 4> slots_;
  std::size_t current_ = 0;
};

}  // namespace seamwright::model::cuda

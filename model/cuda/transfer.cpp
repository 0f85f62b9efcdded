// Copies between host and device.
#include <algorithm>
#include <cstring>

#include "model/convert.h"
#include "model/cuda/backend.h"

namespace seamwright::model::cuda {

Transfers::Transfers(std::shared_ptr<CudaCalls> calls, Stream compute)
    : calls_(std::move(calls)),
      compute_(compute),
      stream_(*calls_),
      computed_(calls_->create_event()),
      copied_(calls_->create_event()) {}

Transfers::~Transfers() {
  calls_->destroy_event(computed_);
  calls_->destroy_event(copied_);
  if (pinned_ != nullptr) calls_->free_pinned(pinned_);
}

void Transfers::wait_for_compute() {
  calls_->record(computed_, compute_);
  calls_->make_wait(stream_, computed_);
}

Stream Transfers::behind_compute() {
  const std::lock_guard lock(mutex_);
  calls_->bind_thread();
  wait_for_compute();
  return stream_;
}

std::byte* Transfers::staging(std::size_t bytes) {
  const std::size_t size = std::min(bytes, PinnedRing::kSlotBytes);
  if (pinned_bytes_ < size) {
    if (pinned_ != nullptr) calls_->free_pinned(pinned_);
    pinned_ = nullptr;
    pinned_bytes_ = 0;
    pinned_ = calls_->allocate_pinned(DevicePool::size_class(size));
    pinned_bytes_ = DevicePool::size_class(size);
  }
  return pinned_;
}

void Transfers::copy_out(const void* device, std::span<std::byte> host) {
  const std::lock_guard lock(mutex_);
  calls_->bind_thread();
  wait_for_compute();  // it has not made the bytes yet, perhaps
  std::byte* pinned = staging(host.size());
  for (std::size_t at = 0; at < host.size(); at += PinnedRing::kSlotBytes) {
    const std::size_t size = std::min(host.size() - at, PinnedRing::kSlotBytes);
    calls_->to_host(static_cast<const std::byte*>(device) + at, pinned, size, stream_);
    calls_->wait_for_stream(stream_);
    std::memcpy(host.data() + at, pinned, size);
  }
}

void Transfers::copy_in(std::span<const std::byte> host, void* device) {
  const std::lock_guard lock(mutex_);
  calls_->bind_thread();
  wait_for_compute();  // it may still use what this memory held before
  std::byte* pinned = staging(host.size());
  for (std::size_t at = 0; at < host.size(); at += PinnedRing::kSlotBytes) {
    const std::size_t size = std::min(host.size() - at, PinnedRing::kSlotBytes);
    std::memcpy(pinned, host.data() + at, size);
    calls_->to_device(pinned, static_cast<std::byte*>(device) + at, size, stream_);
    calls_->wait_for_stream(stream_);
  }
}

namespace {

// Converts elements [at, at + count) of a host tensor.
void convert_part(ConstView from, std::int64_t at, std::int64_t count, void* to, DType type) {
  const auto* data = from.as<std::byte>() + at * static_cast<std::int64_t>(byte_size(from.dtype));
  convert({data, from.dtype, {count}}, {to, type, {count}});
}

}  // namespace

void CudaBackend::upload(ConstView host, View device) {
  ensure(host.elements() == device.elements(), "upload: {} does not fit {}", host.shape.to_string(),
         device.shape.to_string());
  check_not_capturing("an upload");
  calls_->bind_thread();
  const std::size_t width = byte_size(device.dtype);
  const auto part = static_cast<std::int64_t>(PinnedRing::kSlotBytes / width);
  for (std::int64_t at = 0; at < host.elements(); at += part) {
    const std::int64_t count = std::min(part, host.elements() - at);
    const std::size_t bytes = static_cast<std::size_t>(count) * width;
    convert_part(host, at, count, ring_.next(bytes).data(), device.dtype);
    ring_.send(bytes, device.as<std::byte>() + static_cast<std::size_t>(at) * width);
  }
}

void CudaBackend::download(ConstView device, View host) {
  ensure(host.elements() == device.elements(), "download: {} does not fit {}",
         device.shape.to_string(), host.shape.to_string());
  check_not_capturing("a download");
  std::vector<std::byte> raw(device.bytes());
  transfers_.copy_out(device.data, raw);
  convert({raw.data(), device.dtype, device.shape}, host);
}

void CudaBackend::copy_out(ConstView device, std::span<std::byte> host) {
  ensure(host.size() == device.bytes(), "{} bytes were asked for, but the tensor has {}",
         host.size(), device.bytes());
  transfers_.copy_out(device.data, host);
}

void CudaBackend::copy_in(std::span<const std::byte> host, View device) {
  ensure(host.size() == device.bytes(), "{} bytes were given, but the tensor has {}", host.size(),
         device.bytes());
  transfers_.copy_in(host, device.data);
}

std::unique_ptr<Readback> CudaBackend::read_back(ConstView device, std::span<std::byte> host) {
  ensure(host.size() == device.bytes(), "{} bytes were asked for, but the tensor has {}",
         host.size(), device.bytes());
  check_not_capturing("a download");
  calls_->bind_thread();
  if (host.empty()) return nullptr;
  return readbacks_.start(device.data, host);
}

Tensor CudaBackend::resident(ConstView host, DType type) {
  Tensor device(pool_, type, host.shape);
  upload(host, device);
  return device;
}

}  // namespace seamwright::model::cuda

#include "model/backend.h"

#include <cstring>

#include "model/denoiser.h"

namespace seamwright::model {

void Backend::copy_out(ConstView device, std::span<std::byte> host) {
  ensure(host.size() == device.bytes(), "{} bytes were asked for, but the tensor has {}",
         host.size(), device.bytes());
  std::memcpy(host.data(), device.data, host.size());
}

void Backend::copy_in(std::span<const std::byte> host, View device) {
  ensure(host.size() == device.bytes(), "{} bytes were given, but the tensor has {}", host.size(),
         device.bytes());
  std::memcpy(device.data, host.data(), host.size());
}

void Backend::copy(ConstView from, View to) {
  ensure(from.bytes() == to.bytes(), "a copy of {} bytes to {}", from.bytes(), to.bytes());
  std::memcpy(to.data, from.data, from.bytes());
}

std::unique_ptr<Readback> Backend::read_back(ConstView device, std::span<std::byte> host) {
  copy_out(device, host);
  return nullptr;
}

std::unique_ptr<PreparedLinear> Backend::prepare_joined(std::span<const ConstView>) {
  fail(ErrorCode::kInternal, "{}: joined weights for a backend that does not join them", name());
}

void Backend::self_attention(int, ConstView, View, Allocator&) {
  fail(ErrorCode::kInternal, "{}: a joined attention for a backend that does not join", name());
}

void Backend::temporal_self_attention(int, ConstView, View, Allocator&) {
  fail(ErrorCode::kInternal, "{}: a joined attention for a backend that does not join", name());
}

std::unique_ptr<Denoiser> Backend::accelerated(const Denoiser&) { return nullptr; }

bool Backend::rehearse(const std::function<void()>&) { return false; }

std::optional<double> Backend::seconds_alone(const std::function<void()>&) { return std::nullopt; }

}  // namespace seamwright::model

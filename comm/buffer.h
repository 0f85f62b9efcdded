// Bytes together with whoever keeps them alive, as the fabric sends and receives them.
// Threads: values; the bytes themselves belong to the operation that uses them until it completes.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace seamwright::comm {

using Bytes = std::vector<std::byte>;

// The device stream that produces a buffer (send) or will consume it (receive). A null stream means
// host memory that is ready now. Opaque, so that no vendor header is needed to name it.
struct Stream {
  void* native = nullptr;
};

// Bytes to be read. `owner` keeps them alive; an operation holds it until it completes, and has let
// go of it before anybody learns that it succeeded: the memory's allocator may end then.
struct ConstBuffer {
  std::shared_ptr<const void> owner;
  std::span<const std::byte> bytes;
};

// Bytes to be written.
struct Buffer {
  std::shared_ptr<void> owner;
  std::span<std::byte> bytes;

  operator ConstBuffer() const { return {owner, bytes}; }  // NOLINT(google-explicit-constructor)
};

// A fresh host buffer that owns its bytes (not cleared).
inline Buffer allocate_buffer(std::size_t size) {
  std::shared_ptr<std::byte[]> bytes = std::make_shared_for_overwrite<std::byte[]>(size);
  std::span<std::byte> view(bytes.get(), size);
  return {std::shared_ptr<void>(std::move(bytes), view.data()), view};
}

// A buffer nobody owns: the caller keeps the bytes alive until the fabric is destroyed, because an
// aborted operation completes at once while its transfer may still be touching them.
inline Buffer borrow_buffer(std::span<std::byte> bytes) { return {nullptr, bytes}; }
inline ConstBuffer borrow_buffer(std::span<const std::byte> bytes) { return {nullptr, bytes}; }

}  // namespace seamwright::comm

// Tensors: a move-only owner and cheap views, always contiguous, channels last.
// Threads: views are values; an owner belongs to one thread. Nothing here synchronises a device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace seamwright::model {

enum class DType : std::uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kU8 };

std::size_t byte_size(DType type);
std::string_view to_string(DType type);

// Up to six dimensions, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return dims_[static_cast<std::size_t>(i)]; }
  std::int64_t last() const { return dims_[static_cast<std::size_t>(rank_ - 1)]; }
  std::int64_t elements() const;
  bool operator==(const Shape& other) const = default;
  std::string to_string() const;  // "[16, 32, 32, 320]"

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// Read-only window on memory owned elsewhere. Empty (data == nullptr) means "absent".
struct ConstView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  explicit operator bool() const { return data != nullptr; }
  std::int64_t elements() const { return shape.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * byte_size(dtype); }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
  // Same memory, other shape; the element counts must agree.
  ConstView reshaped(const Shape& to) const;
  // Rows [begin, begin + count) of the outermost dimension.
  ConstView slice(std::int64_t begin, std::int64_t count) const;
};

struct View {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  explicit operator bool() const { return data != nullptr; }
  std::int64_t elements() const { return shape.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * byte_size(dtype); }
  operator ConstView() const { return {data, dtype, shape}; }  // NOLINT: a view may be read
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  View reshaped(const Shape& to) const;
  View slice(std::int64_t begin, std::int64_t count) const;
};

// Where tensor memory comes from. An implementation may demand that one thread uses it.
class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual void* allocate(std::size_t bytes) = 0;  // 64-byte aligned; throws kResource
  virtual void release(void* data, std::size_t bytes) noexcept = 0;
  // Networks mark each evaluation with these, so that an allocator that plans ahead (model/arena.h)
  // can: runs of the same key are expected to allocate alike. Others ignore them.
  virtual void begin_run(std::uint64_t key) { static_cast<void>(key); }
  virtual void end_run() noexcept {}
};

// Marks one evaluation for the length of a scope.
class AllocatorRun {
 public:
  AllocatorRun(Allocator& allocator, std::uint64_t key) : allocator_(allocator) {
    allocator_.begin_run(key);
  }
  ~AllocatorRun() { allocator_.end_run(); }
  AllocatorRun(const AllocatorRun&) = delete;
  AllocatorRun& operator=(const AllocatorRun&) = delete;

 private:
  Allocator& allocator_;
};

// A key from what an evaluation depends on.
std::uint64_t run_key(std::string_view what, std::initializer_list<std::uint64_t> numbers,
                      const Shape& input);

// The process heap, 64-byte aligned.
Allocator& heap();

// Owns the memory of one tensor; gives it back to its allocator.
class Tensor {
 public:
  Tensor() = default;
  Tensor(Allocator& from, DType dtype, const Shape& shape);
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor&& other) noexcept;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  ~Tensor();

  explicit operator bool() const { return view_.data != nullptr; }
  const Shape& shape() const { return view_.shape; }
  DType dtype() const { return view_.dtype; }
  View view() { return view_; }
  ConstView view() const { return view_; }
  operator View() { return view_; }             // NOLINT: an owner is usable where a view is
  operator ConstView() const { return view_; }  // NOLINT
  // Gives the same memory another shape.
  Tensor& reshape(const Shape& to);

 private:
  void free() noexcept;
  Allocator* from_ = nullptr;
  View view_;
};

}  // namespace seamwright::model

#include "model/tensor.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <utility>

namespace seamwright::model {

std::size_t byte_size(DType type) {
  switch (type) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kU8:
      return 1;
  }
  fail(ErrorCode::kInternal, "unknown element type {}", static_cast<int>(type));
}

std::string_view to_string(DType type) {
  switch (type) {
    case DType::kF64:
      return "F64";
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI64:
      return "I64";
    case DType::kI32:
      return "I32";
    case DType::kU8:
      return "U8";
  }
  return "?";
}

Shape::Shape(std::initializer_list<std::int64_t> dims)
    : Shape(std::span<const std::int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const std::int64_t> dims) {
  ensure(dims.size() <= kMaxRank, "a tensor has at most {} dimensions, not {}", kMaxRank,
         dims.size());
  for (std::int64_t d : dims) {
    ensure(d >= 0, "a dimension cannot be negative ({})", d);
    dims_[static_cast<std::size_t>(rank_++)] = d;
  }
}

std::int64_t Shape::elements() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= (*this)[i];
  return n;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string((*this)[i]);
  return text + "]";
}

namespace {

template <class V>
V reshape_view(V view, const Shape& to) {
  ensure(view.elements() == to.elements(), "cannot view {} as {}", view.shape.to_string(),
         to.to_string());
  view.shape = to;
  return view;
}

template <class V, class Byte>
V slice_view(V view, Byte* data, std::int64_t begin, std::int64_t count) {
  ensure(view.shape.rank() > 0 && begin >= 0 && count >= 0 && begin + count <= view.shape[0],
         "rows {}..{} are outside {}", begin, begin + count, view.shape.to_string());
  std::array<std::int64_t, Shape::kMaxRank> dims{};
  std::int64_t row = 1;
  for (int i = 0; i < view.shape.rank(); ++i) dims[static_cast<std::size_t>(i)] = view.shape[i];
  for (int i = 1; i < view.shape.rank(); ++i) row *= view.shape[i];
  dims[0] = count;
  view.data = data + static_cast<std::size_t>(begin * row) * byte_size(view.dtype);
  view.shape = Shape(std::span(dims).first(static_cast<std::size_t>(view.shape.rank())));
  return view;
}

class Heap final : public Allocator {
  static constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;

 public:
  void* allocate(std::size_t bytes) override {
    const bool large = bytes >= kHugePage;
    const std::size_t whole_lines = (bytes + kLine - 1) / kLine * kLine;
    void* data = nullptr;
    // Not aligned_alloc, which some allocators hold to sizes that are multiples of the alignment.
    if (::posix_memalign(&data, large ? kHugePage : kLine, bytes == 0 ? kLine : whole_lines) != 0)
      fail(ErrorCode::kResource, "out of memory: {} bytes were asked for", bytes);
    // Advice only: activations and weights are walked from end to end, and translating every 4 KiB
    // anew costs more than fetching them.
    if (large) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
    return data;
  }
  void release(void* data, std::size_t) noexcept override { std::free(data); }
};

}  // namespace

ConstView ConstView::reshaped(const Shape& to) const { return reshape_view(*this, to); }
View View::reshaped(const Shape& to) const { return reshape_view(*this, to); }
ConstView ConstView::slice(std::int64_t begin, std::int64_t count) const {
  return slice_view(*this, static_cast<const std::byte*>(data), begin, count);
}
View View::slice(std::int64_t begin, std::int64_t count) const {
  return slice_view(*this, static_cast<std::byte*>(data), begin, count);
}

std::uint64_t run_key(std::string_view what, std::initializer_list<std::uint64_t> numbers,
                      const Shape& input) {
  std::uint64_t key = 0xcbf29ce484222325U;  // FNV-1a
  const auto mix = [&](std::uint64_t value) { key = (key ^ value) * 0x100000001b3U; };
  for (char c : what) mix(static_cast<unsigned char>(c));
  for (std::uint64_t number : numbers) mix(number);
  for (int i = 0; i < input.rank(); ++i) mix(static_cast<std::uint64_t>(input[i]));
  return key;
}

Allocator& heap() {
  static Heap instance;
  return instance;
}

Tensor::Tensor(Allocator& from, DType dtype, const Shape& shape) : from_(&from) {
  view_ = {nullptr, dtype, shape};
  view_.data = from.allocate(view_.bytes());
}
Tensor::Tensor(Tensor&& other) noexcept
    : from_(std::exchange(other.from_, nullptr)), view_(std::exchange(other.view_, View{})) {}
Tensor& Tensor::operator=(Tensor&& other) noexcept {
  if (this != &other) {
    free();
    from_ = std::exchange(other.from_, nullptr);
    view_ = std::exchange(other.view_, View{});
  }
  return *this;
}
Tensor::~Tensor() { free(); }
void Tensor::free() noexcept {
  if (view_.data != nullptr) from_->release(view_.data, view_.bytes());
  view_ = {};
}
Tensor& Tensor::reshape(const Shape& to) {
  view_ = view_.reshaped(to);
  return *this;
}

}  // namespace seamwright::model

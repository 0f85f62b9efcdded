// Kernels that move elements and compute nothing.
#include "model/cuda/kernels.h"
#include "model/cuda/kernels/dispatch.h"
#include "model/cuda/kernels/indices.h"

namespace seamwright::model::cuda {
namespace {

constexpr int kThreads = 256;

// Where a thread's number is taken apart into row and column that is done in 32 bits: a division in
// 64 costs as much as all the rest. So many words no tensor has.
void check_words(std::int64_t words) { check_limit("words of a tensor", words, 0xffffffff); }

// Moved as plain bits: 2 or 4 bytes an element, or eight times as much at once.
template <class Body>
void with_word(Element type, bool wide, const Body& body) {
  const bool four = bytes_of(type) == 4;
  if (wide) return body(Pack<std::uint64_t, 2>{});
  if (four) return body(std::uint32_t{});
  body(std::uint16_t{});
}

// Whether rows of all these widths can move 16 bytes at a time.
template <class... Widths>
bool all_wide(Element type, Widths... widths) {
  const std::int64_t n = 16 / bytes_of(type);
  return ((widths % n == 0) && ...);
}

template <class W>
std::int64_t words(Element type, std::int64_t elements) {
  return elements * bytes_of(type) / static_cast<std::int64_t>(sizeof(W));
}

template <class W>
SW_KERNEL copy_columns_kernel(const W* x, std::int64_t x_stride, W* y, std::int64_t y_stride,
                              std::int64_t rows, std::int64_t width, std::uint32_t touched) {
  const std::int64_t place = block_x() * kThreads + thread_index();
  if (place >= rows * touched) return;
  const auto index = static_cast<std::uint32_t>(place);
  const std::int64_t row = index / touched, c = index % touched;
  y[row * y_stride + c] = c < width ? x[row * x_stride + c] : W{};
}

template <class W>
SW_KERNEL concat_kernel(const W* a, std::int64_t a_width, const W* b, std::int64_t b_width, W* y,
                        std::int64_t rows) {
  const auto width = static_cast<std::uint32_t>(a_width + b_width);
  const std::int64_t place = block_x() * kThreads + thread_index();
  if (place >= rows * width) return;
  const auto index = static_cast<std::uint32_t>(place);
  const std::int64_t row = index / width, c = index % width;
  y[index] = c < a_width ? a[row * a_width + c] : b[row * b_width + c - a_width];
}

template <class W>
SW_KERNEL upsample_kernel(const W* x, ImageSize from, W* y, ImageSize to, std::int64_t n,
                          std::int64_t width) {
  const std::int64_t index = block_x() * kThreads + thread_index();
  if (index >= n * to.h * to.w * width) return;
  const std::int64_t c = index % width;
  const std::int64_t pixel = nearest_source(index / width, from.h, from.w, to.h, to.w);
  y[index] = x[pixel * width + c];
}

template <class W>
SW_KERNEL gather_kernel(const W* table, const std::int32_t* ids, W* y, std::int64_t rows,
                        std::int64_t width) {
  const std::int64_t index = block_x() * kThreads + thread_index();
  if (index >= rows * width) return;
  y[index] = table[ids[index / width] * width + index % width];
}

template <class W>
SW_KERNEL patches_kernel(const W* x, W* patches, PatchShape shape, std::int64_t first,
                         std::int64_t rows) {
  const std::int64_t per_row = shape.kernel * shape.kernel * shape.in;
  const std::int64_t index = block_x() * kThreads + thread_index();
  if (index >= rows * per_row) return;
  const std::int64_t from = patch_source(shape, first + index / per_row, index % per_row);
  patches[index] = from >= 0 ? x[from] : W{};
}

}  // namespace

void copy_columns(Element type, const void* x, std::int64_t x_stride, void* y,
                  std::int64_t y_stride, std::int64_t rows, std::int64_t width, bool clear,
                  Stream stream) {
  const bool wide = all_wide(type, x_stride, y_stride, width) && aligned_16(x, y);
  with_word(type, wide, [&](auto tag) {
    using W = decltype(tag);
    const std::int64_t from = words<W>(type, x_stride), to = words<W>(type, y_stride),
                       count = words<W>(type, width);
    const std::int64_t touched = clear ? to : count;
    check_words(rows * touched);
    launch_independent(&copy_columns_kernel<W>, {ceil_div(rows * touched, kThreads)}, kThreads,
                       stream, static_cast<const W*>(x), from, static_cast<W*>(y), to, rows, count,
                       static_cast<std::uint32_t>(touched));
  });
}

void concat(Element type, const void* a, std::int64_t a_width, const void* b, std::int64_t b_width,
            void* y, std::int64_t rows, Stream stream) {
  with_word(type, all_wide(type, a_width, b_width) && aligned_16(a, b, y), [&](auto tag) {
    using W = decltype(tag);
    const std::int64_t wa = words<W>(type, a_width), wb = words<W>(type, b_width);
    check_words(rows * (wa + wb));
    launch_independent(&concat_kernel<W>, {ceil_div(rows * (wa + wb), kThreads)}, kThreads, stream,
                       static_cast<const W*>(a), wa, static_cast<const W*>(b), wb,
                       static_cast<W*>(y), rows);
  });
}

void upsample(Element type, const void* x, ImageSize from, void* y, ImageSize to, std::int64_t n,
              std::int64_t channels, Stream stream) {
  with_word(type, all_wide(type, channels) && aligned_16(x, y), [&](auto tag) {
    using W = decltype(tag);
    const std::int64_t width = words<W>(type, channels);
    launch_independent(&upsample_kernel<W>, {ceil_div(n * to.h * to.w * width, kThreads)}, kThreads,
                       stream, static_cast<const W*>(x), from, static_cast<W*>(y), to, n, width);
  });
}

void gather(Element type, const void* table, const std::int32_t* ids, void* y, std::int64_t rows,
            std::int64_t width, Stream stream) {
  with_word(type, all_wide(type, width) && aligned_16(table, y), [&](auto tag) {
    using W = decltype(tag);
    const std::int64_t count = words<W>(type, width);
    launch_independent(&gather_kernel<W>, {ceil_div(rows * count, kThreads)}, kThreads, stream,
                       static_cast<const W*>(table), ids, static_cast<W*>(y), rows, count);
  });
}

void gather_patches(Element type, PatchShape shape, const void* x, void* patches,
                    std::int64_t first, std::int64_t rows, Stream stream) {
  with_word(type, all_wide(type, shape.in) && aligned_16(x, patches), [&](auto tag) {
    using W = decltype(tag);
    PatchShape in_words = shape;
    in_words.in = words<W>(type, shape.in);
    const std::int64_t work = rows * shape.kernel * shape.kernel * in_words.in;
    launch_independent(&patches_kernel<W>, {ceil_div(work, kThreads)}, kThreads, stream,
                       static_cast<const W*>(x), static_cast<W*>(patches), in_words, first, rows);
  });
}

}  // namespace seamwright::model::cuda

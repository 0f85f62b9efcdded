// A convolution to at most eight channels, in fp32 from 16-bit elements: the U-Net's last, which
// cuDNN does not offer with a wider result. One warp makes 16 pixels; a sum's order is that of the
// taps, then of the channels in sixteens.
#include "model/cuda/kernels.h"
#include "model/cuda/kernels/dispatch.h"

namespace seamwright::model::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kPixels = 16;  // of a warp

// Channels channel ... channel + 3 of a pixel; zeros in the padding.
template <class T>
SW_DEVICE void four_of(const T* row, int channel, std::uint32_t& low, std::uint32_t& high) {
  low = high = 0;
  if (row != nullptr) load_four(row + channel, low, high);
}

// The pixel that a tap sees; null in the padding.
template <class T>
SW_DEVICE const T* seen_by(const PatchShape& s, const T* x, std::int64_t pixel, int tap,
                           std::int64_t pixels) {
  if (pixel >= pixels) return nullptr;
  const auto at = static_cast<std::uint32_t>(pixel);
  const auto width = static_cast<std::uint32_t>(s.ow), height = static_cast<std::uint32_t>(s.oh);
  const std::int64_t n = at / (width * height), oy = at / width % height, ox = at % width;
  const std::int64_t y = oy * s.stride - s.pad_top + tap / s.kernel;
  const std::int64_t column = ox * s.stride - s.pad_left + tap % s.kernel;
  if (y < 0 || y >= s.h || column < 0 || column >= s.w) return nullptr;
  return x + ((n * s.h + y) * s.w + column) * s.in;
}

template <class T>
SW_KERNEL narrow_kernel(PatchShape s, const T* x, const T* w, float* y, std::int64_t pixels,
                        int out) {
  const int lane = thread_index() % 32, group = lane / 4, quad = lane % 4;
  const std::int64_t first = (block_x() * kWarps + thread_index() / 32) * kPixels;
  if (first >= pixels) return;  // whole warps
  const int taps = static_cast<int>(s.kernel * s.kernel), in = static_cast<int>(s.in);
  float sum[4] = {};
  for (int tap = 0; tap < taps; ++tap) {
    const T* upper = seen_by(s, x, first + group, tap, pixels);
    const T* lower = seen_by(s, x, first + group + 8, tap, pixels);
    const T* weight = w + (static_cast<std::int64_t>(group) * taps + tap) * in;
    for (int c = quad * 4; c < in; c += 16) {
      std::uint32_t a[4], b[2];
      four_of(upper, c, a[0], a[2]);
      four_of(lower, c, a[1], a[3]);
      four_of(weight, c, b[0], b[1]);
      multiply_fragments<T>(sum, a, b[0], b[1]);
    }
  }
  for (int i = 0; i < 4; ++i) {
    const std::int64_t pixel = first + i / 2 * 8 + group;
    const int channel = quad * 2 + i % 2;
    if (pixel < pixels && channel < out) y[pixel * out + channel] = sum[i];
  }
}

}  // namespace

void convolve_narrow(Element type, PatchShape shape, const void* x, const void* w, float* y,
                     std::int64_t pixels, int out, Stream stream) {
  check(type != Element::kF32 && shape.in % 16 == 0 && out <= 8 && aligned_16(x, w),
        "a narrow convolution's shape");
  check_limit("pixels of a convolution", pixels, 0xffffffff);
  const auto start = [&](auto tag) {
    using T = decltype(tag);
    launch(&narrow_kernel<T>, {ceil_div(pixels, kWarps * kPixels)}, 32 * kWarps, 0, stream, shape,
           static_cast<const T*>(x), static_cast<const T*>(w), y, pixels, out);
  };
  if (type == Element::kBf16) return start(Bf16{});
  start(Half{});
}

}  // namespace seamwright::model::cuda

// Folder-private: where elements come from; pure arithmetic shared by kernels and their tests.
// Threads: pure functions.
#pragma once

#include <cstdint>

#include "model/cuda/kernels/gpu.h"
#include "model/cuda/kernels/types.h"

namespace seamwright::model::cuda {

// Source pixel of nearest-neighbour resampling to an explicit size: row floor(i * in / out).
SW_DEVICE std::int64_t nearest_source(std::int64_t pixel, std::int64_t h, std::int64_t w,
                                      std::int64_t oh, std::int64_t ow) {
  const std::int64_t n = pixel / (oh * ow), i = pixel / ow % oh, j = pixel % ow;
  return (n * h + i * h / oh) * w + j * w / ow;
}

// Element of x [n, h, w, in] at (row, column) of the patch matrix; -1 in the padding.
SW_DEVICE std::int64_t patch_source(const PatchShape& s, std::int64_t row, std::int64_t column) {
  const std::int64_t n = row / (s.oh * s.ow), oy = row / s.ow % s.oh, ox = row % s.ow;
  const std::int64_t tap = column / s.in, c = column % s.in;
  const std::int64_t y = oy * s.stride - s.pad_top + tap / s.kernel;
  const std::int64_t x = ox * s.stride - s.pad_left + tap % s.kernel;
  if (y < 0 || y >= s.h || x < 0 || x >= s.w) return -1;
  return ((n * s.h + y) * s.w + x) * s.in + c;
}

}  // namespace seamwright::model::cuda

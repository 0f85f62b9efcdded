// Group norm: one pass for the statistics, one to apply them; layer norm row by row.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"
#include "model/cpu/tiles/tile_kernels.h"

namespace seamwright::model::cpu {
namespace {

constexpr std::int64_t kStatisticsElements = 1 << 16, kLayerNormElements = 1 << 15;

// Per-channel scale and shift that apply a group's statistics and the learned ones at once.
void fold(const CpuNorm& norm, int groups, double count, const double* sums, const double* squares,
          float* scale, float* shift) {
  const std::int64_t per_group = norm.channels / groups;
  for (std::int64_t g = 0; g < groups; ++g) {
    double sum = 0, square = 0;
    for (std::int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      sum += sums[c];
      square += squares[c];
    }
    const double n = count * static_cast<double>(per_group), mean = sum / n;
    const double variance = std::max(square / n - mean * mean, 0.0);
    const double factor = 1 / std::sqrt(variance + norm.eps);
    for (std::int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      const auto i = static_cast<std::size_t>(c);
      scale[c] = static_cast<float>(norm.scale[i] * factor);
      shift[c] = static_cast<float>(norm.shift[i] - mean * norm.scale[i] * factor);
    }
  }
}

void scale_shift_bf16(Activation activation, const Bf16* x, std::int64_t rows,
                      std::int64_t channels, const float* scale, const float* shift, Bf16* y) {
  scale_bf16_rows(activation == Activation::kSilu, x, rows, channels, scale, shift, y);
}

}  // namespace

template <class T>
TypedKernels<T> CpuBackend::norm_kernels(Activation activation) const {
  TypedKernels<T> kernels = kernels_.typed<T>();
  if constexpr (std::is_same_v<T, Bf16>) {
    if (!on_tiles(kPanelColumns, kPanelColumns)) return kernels;
    kernels.channel_sums = sum_bf16_channels;
    kernels.layer_norm = normalize_bf16_rows;
    if (activation == Activation::kNone || activation == Activation::kSilu) {
      kernels.scale_shift = scale_shift_bf16;
    }
  }
  return kernels;
}

void CpuBackend::group_norm(const PreparedNorm& prepared, int groups, NormExtent extent,
                            Activation activation, ConstView x, View y, Allocator&) {
  const auto& norm = as<CpuNorm>(prepared);
  const std::int64_t channels = norm.channels;
  const bool per_frame = extent == NormExtent::kPerFrame;
  const std::int64_t sets = per_frame ? x.shape[0] : 1;
  const std::int64_t rows = x.elements() / channels / sets;  // of one set of statistics
  const std::int64_t step = std::max<std::int64_t>(kStatisticsElements / channels, 1);
  const std::int64_t chunks = ceil_div(rows, step);
  const bool wide = x.dtype != activation_;
  // Per chunk sums and squares, then per set scale and shift.
  const auto sum_bytes = static_cast<std::size_t>(sets * chunks * 2 * channels) * sizeof(double);
  const auto scale_bytes = static_cast<std::size_t>(sets * 2 * channels) * sizeof(float);
  std::byte* space = workspace_.at_least(sum_bytes + scale_bytes);
  auto* sums = reinterpret_cast<double*>(space);
  auto* scales = reinterpret_cast<float*>(space + sum_bytes);
  with_type([&](auto tag) {
    using T = decltype(tag);
    const TypedKernels<T> kernels = norm_kernels<T>(activation);
    parallel_for(threads_, sets * chunks, [&](std::int64_t chunk, int) {
      double* mine = sums + chunk * 2 * channels;
      std::fill(mine, mine + 2 * channels, 0.0);
      const std::int64_t first = chunk % chunks * step;
      const std::int64_t at = (chunk / chunks * rows + first) * channels;
      if (wide) {
        kernels_.f32.channel_sums(x.as<float>() + at, std::min(step, rows - first), channels, mine,
                                  mine + channels);
        return;
      }
      kernels.channel_sums(x.as<T>() + at, std::min(step, rows - first), channels, mine,
                           mine + channels);
    });
    for (std::int64_t set = 0; set < sets; ++set) {
      double* total = sums + set * chunks * 2 * channels;
      for (std::int64_t chunk = 1; chunk < chunks; ++chunk) {
        for (std::int64_t i = 0; i < 2 * channels; ++i) total[i] += total[chunk * 2 * channels + i];
      }
      float* scale = scales + set * 2 * channels;
      fold(norm, groups, static_cast<double>(rows), total, total + channels, scale,
           scale + channels);
    }
    parallel_for(threads_, sets * chunks, [&](std::int64_t chunk, int) {
      const float* scale = scales + chunk / chunks * 2 * channels;
      const std::int64_t first = chunk % chunks * step;
      const std::int64_t at = (chunk / chunks * rows + first) * channels;
      if (wide) {
        kernels.scale_shift_wide(activation, x.as<float>() + at, std::min(step, rows - first),
                                 channels, scale, scale + channels, y.as<T>() + at);
        return;
      }
      kernels.scale_shift(activation, x.as<T>() + at, std::min(step, rows - first), channels, scale,
                          scale + channels, y.as<T>() + at);
    });
  });
}

void CpuBackend::layer_norm(const PreparedNorm& prepared, ConstView x, ConstView position, View y) {
  const auto& norm = as<CpuNorm>(prepared);
  const std::int64_t channels = norm.channels, rows = x.elements() / channels;
  if (rows == 0) return;
  // With positions a chunk stays inside one outermost index.
  const std::int64_t run = position ? rows / x.shape[0] : rows;
  const std::int64_t step = std::max<std::int64_t>(kLayerNormElements / channels, 1);
  const std::int64_t per_run = ceil_div(run, step);
  with_type([&](auto tag) {
    using T = decltype(tag);
    const TypedKernels<T> kernels = norm_kernels<T>(Activation::kNone);
    parallel_for(threads_, rows / run * per_run, [&](std::int64_t chunk, int) {
      const std::int64_t first = chunk % per_run * step, outer = chunk / per_run;
      const std::int64_t at = (outer * run + first) * channels;
      kernels.layer_norm(x.as<T>() + at, std::min(step, run - first), channels, norm.scale.data(),
                         norm.shift.data(), static_cast<float>(norm.eps),
                         position ? position.as<T>() + outer * channels : nullptr, y.as<T>() + at);
    });
  });
}

}  // namespace seamwright::model::cpu

// Element-wise ops, copies and conversions.
#include <cstring>

#include "model/convert.h"
#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

constexpr std::int64_t kRun = 1 << 16;  // elements per chunk

std::int64_t rows_per_run(std::int64_t row_elements) {
  return row_elements >= kRun ? 1 : kRun / (row_elements > 0 ? row_elements : 1);
}

}  // namespace

void CpuBackend::upload(ConstView host, View device) {
  parallel_runs(threads_, host.elements(), kRun, [&](std::int64_t begin, std::int64_t end, int) {
    convert(host.reshaped({host.elements()}).slice(begin, end - begin),
            device.reshaped({device.elements()}).slice(begin, end - begin));
  });
}

void CpuBackend::download(ConstView device, View host) {
  parallel_runs(threads_, host.elements(), kRun, [&](std::int64_t begin, std::int64_t end, int) {
    convert(device.reshaped({device.elements()}).slice(begin, end - begin),
            host.reshaped({host.elements()}).slice(begin, end - begin));
  });
}

void CpuBackend::add(ConstView a, ConstView b, View y) {
  with_type([&](auto tag) {
    using T = decltype(tag);
    parallel_runs(threads_, y.elements(), kRun, [&](std::int64_t begin, std::int64_t end, int) {
      kernels_.typed<T>().add(a.as<T>() + begin, b.as<T>() + begin, y.as<T>() + begin, end - begin);
    });
  });
}

void CpuBackend::activate(Activation activation, ConstView x, View y) {
  with_type([&](auto tag) {
    using T = decltype(tag);
    parallel_runs(threads_, y.elements(), kRun, [&](std::int64_t begin, std::int64_t end, int) {
      kernels_.typed<T>().activate(activation, x.as<T>() + begin, y.as<T>() + begin, end - begin);
    });
  });
}

void CpuBackend::soft_clamp(double limit, ConstView x, View y) {
  with_type([&](auto tag) {
    using T = decltype(tag);
    parallel_runs(threads_, y.elements(), kRun, [&](std::int64_t begin, std::int64_t end, int) {
      kernels_.typed<T>().soft_clamp(static_cast<float>(limit), x.as<T>() + begin,
                                     y.as<T>() + begin, end - begin);
    });
  });
}

void CpuBackend::affine(double scale, double shift, ConstView x, View y) {
  with_type([&](auto tag) {
    using T = decltype(tag);
    parallel_runs(threads_, y.elements(), kRun, [&](std::int64_t begin, std::int64_t end, int) {
      kernels_.typed<T>().affine(static_cast<float>(scale), static_cast<float>(shift),
                                 x.as<T>() + begin, y.as<T>() + begin, end - begin);
    });
  });
}

void CpuBackend::concat_channels(ConstView a, ConstView b, View y) {
  const std::size_t size = byte_size(activation_);
  const std::size_t left = static_cast<std::size_t>(a.shape.last()) * size;
  const std::size_t right = static_cast<std::size_t>(b.shape.last()) * size;
  if (y.elements() == 0) return;
  parallel_runs(threads_, y.elements() / y.shape.last(), rows_per_run(y.shape.last()),
                [&](std::int64_t begin, std::int64_t end, int) {
                  for (auto row = static_cast<std::size_t>(begin);
                       row < static_cast<std::size_t>(end); ++row) {
                    std::byte* to = y.as<std::byte>() + row * (left + right);
                    std::memcpy(to, a.as<std::byte>() + row * left, left);
                    std::memcpy(to + left, b.as<std::byte>() + row * right, right);
                  }
                });
}

void CpuBackend::upsample_nearest(ConstView x, View y) {
  const std::int64_t height = y.shape[1], width = y.shape[2];
  const std::size_t pixel = static_cast<std::size_t>(y.shape[3]) * byte_size(activation_);
  parallel_runs(
      threads_, y.shape[0] * height, rows_per_run(width * y.shape[3]),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t from = row / height * x.shape[1] + row % height * x.shape[1] / height;
          for (std::int64_t column = 0; column < width; ++column) {
            const std::int64_t at = from * x.shape[2] + column * x.shape[2] / width;
            std::memcpy(y.as<std::byte>() + static_cast<std::size_t>(row * width + column) * pixel,
                        x.as<std::byte>() + static_cast<std::size_t>(at) * pixel, pixel);
          }
        }
      });
}

void CpuBackend::pixels_to_rgb8(ConstView x, View y) {
  const auto convert_with = [&](auto tag) {
    using T = decltype(tag);
    parallel_runs(threads_, y.elements(), kRun, [&](std::int64_t begin, std::int64_t end, int) {
      kernels_.typed<T>().to_rgb8(x.as<T>() + begin, y.as<std::uint8_t>() + begin, end - begin);
    });
  };
  if (x.dtype == DType::kF32) return convert_with(float{});
  convert_with(Bf16{});
}

void CpuBackend::gather_rows(ConstView table, std::span<const std::int32_t> ids, View y) {
  const std::size_t row = static_cast<std::size_t>(table.shape[1]) * byte_size(activation_);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::memcpy(y.as<std::byte>() + i * row,
                table.as<std::byte>() + static_cast<std::size_t>(ids[i]) * row, row);
  }
}

}  // namespace seamwright::model::cpu

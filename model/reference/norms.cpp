// Group norm and layer norm.
#include <cmath>

#include "model/reference/reference_backend.h"

namespace seamwright::model::reference {
namespace {

// Normalises the channels [begin, begin + width) of `rows` rows of C channels together.
void normalise_group(const Norm& norm, const double* x, std::int64_t rows, std::int64_t begin,
                     std::int64_t width, Activation activation, double* y) {
  const std::int64_t c = norm.channels;
  const auto count = static_cast<double>(rows * width);
  double sum = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = begin; i < begin + width; ++i) sum += x[r * c + i];
  }
  const double mean = sum / count;
  double squares = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = begin; i < begin + width; ++i) {
      const double d = x[r * c + i] - mean;
      squares += d * d;
    }
  }
  const double scale = 1.0 / std::sqrt(squares / count + norm.eps);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = begin; i < begin + width; ++i) {
      const auto channel = static_cast<std::size_t>(i);
      const double v = (x[r * c + i] - mean) * scale * norm.scale[channel] + norm.shift[channel];
      y[r * c + i] = apply(activation, v);
    }
  }
}

}  // namespace

void ReferenceBackend::group_norm(const PreparedNorm& prepared, int groups, NormExtent extent,
                                  Activation activation, ConstView x, View y, Allocator&) {
  const auto& norm = static_cast<const Norm&>(prepared);
  const std::int64_t runs = extent == NormExtent::kPerFrame ? x.shape[0] : 1;
  const std::int64_t rows = x.elements() / norm.channels / runs;
  const std::int64_t width = norm.channels / groups;
  for (std::int64_t n = 0; n < runs; ++n) {
    const std::int64_t offset = n * rows * norm.channels;
    for (std::int64_t g = 0; g < groups; ++g) {
      normalise_group(norm, x.as<double>() + offset, rows, g * width, width, activation,
                      y.as<double>() + offset);
    }
  }
}

void ReferenceBackend::layer_norm(const PreparedNorm& prepared, ConstView x, ConstView position,
                                  View y) {
  const auto& norm = static_cast<const Norm&>(prepared);
  const std::int64_t c = norm.channels;
  const std::int64_t rows = x.elements() / c;
  for (std::int64_t r = 0; r < rows; ++r) {
    double* out = y.as<double>() + r * c;
    normalise_group(norm, x.as<double>() + r * c, 1, 0, c, Activation::kNone, out);
    if (!position) continue;
    const std::int64_t outer = r / (rows / x.shape[0]);
    const double* add = position.as<double>() + outer * c;
    for (std::int64_t i = 0; i < c; ++i) out[i] += add[i];
  }
}

}  // namespace seamwright::model::reference

// Ops that touch each element once.
#include <algorithm>
#include <cmath>

#include "model/convert.h"
#include "model/reference/reference_backend.h"

namespace seamwright::model::reference {

void ReferenceBackend::add(ConstView a, ConstView b, View y) {
  for (std::int64_t i = 0, n = y.elements(); i < n; ++i) {
    y.as<double>()[i] = a.as<double>()[i] + b.as<double>()[i];
  }
}

void ReferenceBackend::activate(Activation activation, ConstView x, View y) {
  for (std::int64_t i = 0, n = y.elements(); i < n; ++i) {
    y.as<double>()[i] = apply(activation, x.as<double>()[i]);
  }
}

void ReferenceBackend::soft_clamp(double limit, ConstView x, View y) {
  for (std::int64_t i = 0, n = y.elements(); i < n; ++i) {
    y.as<double>()[i] = limit * std::tanh(x.as<double>()[i] / limit);
  }
}

void ReferenceBackend::affine(double scale, double shift, ConstView x, View y) {
  for (std::int64_t i = 0, n = y.elements(); i < n; ++i) {
    y.as<double>()[i] = scale * x.as<double>()[i] + shift;
  }
}

void ReferenceBackend::concat_channels(ConstView a, ConstView b, View y) {
  const std::int64_t ca = a.shape.last(), cb = b.shape.last();
  const std::int64_t rows = y.elements() / (ca + cb);
  for (std::int64_t r = 0; r < rows; ++r) {
    double* out = y.as<double>() + r * (ca + cb);
    std::copy_n(a.as<double>() + r * ca, ca, out);
    std::copy_n(b.as<double>() + r * cb, cb, out + ca);
  }
}

// Nearest to an explicit size reads source row floor(i * in / out).
void ReferenceBackend::upsample_nearest(ConstView x, View y) {
  const std::int64_t h = x.shape[1], w = x.shape[2], c = x.shape[3];
  const std::int64_t oh = y.shape[1], ow = y.shape[2];
  for (std::int64_t n = 0; n < y.shape[0]; ++n) {
    for (std::int64_t i = 0; i < oh; ++i) {
      for (std::int64_t j = 0; j < ow; ++j) {
        std::copy_n(x.as<double>() + ((n * h + i * h / oh) * w + j * w / ow) * c, c,
                    y.as<double>() + ((n * oh + i) * ow + j) * c);
      }
    }
  }
}

void ReferenceBackend::pixels_to_rgb8(ConstView x, View y) {
  for (std::int64_t i = 0, n = y.elements(); i < n; ++i) {
    y.as<std::uint8_t>()[i] = to_rgb8(static_cast<float>(x.as<double>()[i]));
  }
}

void ReferenceBackend::gather_rows(ConstView table, std::span<const std::int32_t> ids, View y) {
  const std::int64_t c = table.shape[1];
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::copy_n(table.as<double>() + ids[i] * c, c,
                y.as<double>() + static_cast<std::int64_t>(i) * c);
  }
}

}  // namespace seamwright::model::reference

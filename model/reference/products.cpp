// Convolution, linear and GEGLU.
#include <cmath>

#include "model/reference/reference_backend.h"

namespace seamwright::model::reference {

double apply(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kSilu:
      return x / (1.0 + std::exp(-x));
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kGelu:
      return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    case Activation::kQuickGelu:
      return x / (1.0 + std::exp(-1.702 * x));
  }
  fail(ErrorCode::kInternal, "unknown activation {}", static_cast<int>(activation));
}

namespace {

// y += x * w over one row of inputs; w is [in, out].
void accumulate(const double* x, const double* w, std::int64_t in, std::int64_t out, double* y) {
  for (std::int64_t i = 0; i < in; ++i) {
    const double xi = x[i];
    const double* row = w + i * out;
    for (std::int64_t o = 0; o < out; ++o) y[o] += xi * row[o];
  }
}

// Applies the epilogue to row `row` of `rows`.
void finish_row(const Epilogue& e, std::int64_t row, std::int64_t rows, std::int64_t out,
                double* y) {
  const double* per_channel = nullptr;
  if (e.per_channel) {
    const std::int64_t runs = e.per_channel.shape.rank() == 2 ? e.per_channel.shape[0] : 1;
    per_channel = e.per_channel.as<double>() + row / (rows / runs) * out;
  }
  const double* residual = e.residual ? e.residual.as<double>() + row * out : nullptr;
  for (std::int64_t o = 0; o < out; ++o) {
    double v = y[o];
    if (per_channel != nullptr) v += per_channel[o];
    v = apply(e.activation, v);
    if (residual != nullptr) v += residual[o];
    y[o] = apply(e.last, v);
  }
}

// One output pixel of a convolution.
void convolve_pixel(const Conv& conv, const double* image, std::int64_t height, std::int64_t width,
                    std::int64_t top, std::int64_t left, double* y) {
  const ConvSpec& s = conv.spec;
  for (std::int64_t o = 0; o < s.out; ++o) y[o] = conv.bias[static_cast<std::size_t>(o)];
  for (std::int64_t ky = 0; ky < s.kernel; ++ky) {
    for (std::int64_t kx = 0; kx < s.kernel; ++kx) {
      const std::int64_t iy = top + ky, ix = left + kx;
      if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
      accumulate(image + (iy * width + ix) * s.in,
                 conv.weight.data() + (ky * s.kernel + kx) * s.in * s.out, s.in, s.out, y);
    }
  }
}

}  // namespace

void ReferenceBackend::conv2d(const PreparedConv& prepared, ConstView x, const Epilogue& epilogue,
                              View y, Allocator&) {
  const auto& conv = static_cast<const Conv&>(prepared);
  const ConvSpec& s = conv.spec;
  const std::int64_t height = x.shape[1], width = x.shape[2];
  const std::int64_t rows = y.elements() / s.out;
  std::int64_t row = 0;
  for (std::int64_t n = 0; n < y.shape[0]; ++n) {
    const double* image = x.as<double>() + n * height * width * s.in;
    for (std::int64_t oy = 0; oy < y.shape[1]; ++oy) {
      for (std::int64_t ox = 0; ox < y.shape[2]; ++ox, ++row) {
        double* out = y.as<double>() + row * s.out;
        convolve_pixel(conv, image, height, width, oy * s.stride - s.pad_top,
                       ox * s.stride - s.pad_left, out);
        finish_row(epilogue, row, rows, s.out, out);
      }
    }
  }
}

void ReferenceBackend::linear(const PreparedLinear& prepared, ConstView x, const Epilogue& epilogue,
                              View y, Allocator&) {
  const auto& l = static_cast<const Linear&>(prepared);
  const std::int64_t rows = x.elements() / l.in;
  for (std::int64_t r = 0; r < rows; ++r) {
    double* out = y.as<double>() + r * l.out;
    for (std::int64_t o = 0; o < l.out; ++o) out[o] = l.bias[static_cast<std::size_t>(o)];
    accumulate(x.as<double>() + r * l.in, l.weight.data(), l.in, l.out, out);
    finish_row(epilogue, r, rows, l.out, out);
  }
}

void ReferenceBackend::geglu(const PreparedLinear& prepared, ConstView x, View y, Allocator&) {
  const auto& l = static_cast<const Linear&>(prepared);
  const std::int64_t rows = x.elements() / l.in;
  std::vector<double> both(static_cast<std::size_t>(2 * l.out));
  for (std::int64_t r = 0; r < rows; ++r) {
    both = l.bias;
    accumulate(x.as<double>() + r * l.in, l.weight.data(), l.in, 2 * l.out, both.data());
    double* out = y.as<double>() + r * l.out;
    for (std::int64_t o = 0; o < l.out; ++o) {
      out[o] = both[static_cast<std::size_t>(o)] *
               apply(Activation::kGelu, both[static_cast<std::size_t>(l.out + o)]);
    }
  }
}

}  // namespace seamwright::model::reference

#include "tests/unit/model/sampled_ops.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/rng.h"
#include "model/convert.h"

namespace seamwright::model::testing_support {
namespace {

constexpr std::int64_t kSamples = 24;  // places; each gives all channels where that is cheap

// Values on the host as the backend will hold them.
class Drawn {
 public:
  Drawn(Backend& backend, const Shape& shape, double scale, double offset, std::int64_t number)
      : host_(heap(), DType::kF32, shape) {
    auto* data = host_.view().as<float>();
    const auto n = static_cast<std::size_t>(shape.elements());
    // A prime number of values, again and again: drawing hundreds of millions would take minutes.
    constexpr std::size_t kPeriod = 1000003;
    const std::size_t fresh = std::min(n, kPeriod);
    fill_normal({.seed = 17, .purpose = NoisePurpose::kTest, .frame = number}, {data, fresh});
    for (std::size_t i = fresh; i < n; ++i) data[i] = data[i - kPeriod];
    for (std::size_t i = 0; i < n; ++i) data[i] = static_cast<float>(data[i] * scale + offset);
    const DType held = backend.activation_type();
    if (held == DType::kBF16 || held == DType::kF16) {
      host_ = converted(converted(host_, held), DType::kF32);
    }
  }
  ConstView view() const { return host_; }
  double at(std::int64_t i) const { return host_.view().as<float>()[i]; }
  Tensor on(Backend& backend) const {
    Exec exec{backend, backend.memory()};
    return ops::upload(exec, host_);
  }

 private:
  Tensor host_;
};

// Compares chosen elements of a result with what `expected` says of them.
class Judge {
 public:
  Judge(Backend& backend, ConstView result) : host_(heap(), DType::kF32, result.shape) {
    backend.download(result, host_);
    for (std::int64_t i = 0; i < host_.shape().elements(); ++i) {
      found_.finite = found_.finite && std::isfinite(host_.view().as<float>()[i]);
    }
  }
  void compare(std::int64_t at, double expected) {
    const double d = std::abs(host_.view().as<float>()[at] - expected);
    error_ += d * d;
    norm_ += expected * expected;
    worst_ = std::max(worst_, d);
    ++count_;
  }
  Sampled verdict() const {
    Sampled s = found_;
    s.relative_rms = std::sqrt(error_ / norm_);
    s.worst = worst_ / std::sqrt(norm_ / static_cast<double>(count_));
    return s;
  }

 private:
  Tensor host_;
  Sampled found_;
  double error_ = 0, norm_ = 0, worst_ = 0;
  std::int64_t count_ = 0;
};

// Places spread over [0, count): the ends, and others by a fixed stride.
std::vector<std::int64_t> places(std::int64_t count) {
  std::vector<std::int64_t> all{0, count - 1};
  for (std::int64_t i = 1; i < kSamples; ++i) all.push_back(i * 7919 * 104729 % count);
  return all;
}

double fan(std::int64_t in) { return 1 / std::sqrt(static_cast<double>(in)); }

double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }

// softmax(q k^T) v for one query; element i of key t is at base + t * stride + i, of its value
// values_after behind that.
std::vector<double> attend(const Drawn& q, std::int64_t query, const Drawn& k, const Drawn& v,
                           std::int64_t base, std::int64_t stride, std::int64_t keys,
                           std::int64_t d, std::int64_t values_after = 0) {
  std::vector<double> score(static_cast<std::size_t>(keys));
  double top = -1e300, sum = 0;
  for (std::int64_t t = 0; t < keys; ++t) {
    double dot = 0;
    for (std::int64_t i = 0; i < d; ++i) dot += q.at(query + i) * k.at(base + t * stride + i);
    score[static_cast<std::size_t>(t)] = dot * fan(d);
    top = std::max(top, dot * fan(d));
  }
  for (double& s : score) sum += s = std::exp(s - top);
  std::vector<double> out(static_cast<std::size_t>(d));
  for (std::int64_t t = 0; t < keys; ++t) {
    for (std::int64_t i = 0; i < d; ++i) {
      out[static_cast<std::size_t>(i)] +=
          score[static_cast<std::size_t>(t)] / sum * v.at(base + t * stride + i + values_after);
    }
  }
  return out;
}

}  // namespace

Sampled sample_conv(Backend& backend, const ConvSpec& s, const Shape& shape, bool residual) {
  const Drawn x(backend, shape, 1, 0, 1), b(backend, {s.out}, 0.5, 0, 3);
  const std::int64_t fan_in = s.in * s.kernel * s.kernel;
  const Drawn w(backend, {s.out, s.in, s.kernel, s.kernel}, fan(fan_in), 0, 2);
  const std::int64_t oh = (shape[1] + s.pad_top + s.pad_bottom - s.kernel) / s.stride + 1;
  const std::int64_t ow = (shape[2] + s.pad_left + s.pad_right - s.kernel) / s.stride + 1;
  const Drawn r(backend, residual ? Shape{shape[0], oh, ow, s.out} : Shape{1}, 1, 0, 4);
  Exec exec{backend, backend.memory()};
  const auto conv = backend.prepare_conv(s, w.view(), b.view());
  const Tensor extra = residual ? r.on(backend) : Tensor();
  const Tensor y = ops::conv2d(exec, *conv, x.on(backend), {.residual = extra.view()});
  Judge judge(backend, y);
  for (const std::int64_t pixel : places(shape[0] * oh * ow)) {
    const std::int64_t n = pixel / (oh * ow), oy = pixel / ow % oh, ox = pixel % ow;
    for (std::int64_t o = 0; o < s.out; o += std::max<std::int64_t>(1, s.out / 40)) {
      double sum = b.at(o);
      for (std::int64_t t = 0; t < s.kernel * s.kernel; ++t) {
        const std::int64_t iy = oy * s.stride - s.pad_top + t / s.kernel;
        const std::int64_t ix = ox * s.stride - s.pad_left + t % s.kernel;
        if (iy < 0 || iy >= shape[1] || ix < 0 || ix >= shape[2]) continue;
        for (std::int64_t i = 0; i < s.in; ++i) {
          sum += x.at(((n * shape[1] + iy) * shape[2] + ix) * s.in + i) *
                 w.at((o * s.in + i) * s.kernel * s.kernel + t);
        }
      }
      judge.compare(pixel * s.out + o, sum + (residual ? r.at(pixel * s.out + o) : 0));
    }
  }
  return judge.verdict();
}

Sampled sample_linear(Backend& backend, std::int64_t rows, std::int64_t in, std::int64_t out,
                      bool residual) {
  const Drawn x(backend, {rows, in}, 1, 0, 1), w(backend, {out, in}, fan(in), 0, 2);
  const Drawn b(backend, {out}, 0.5, 0, 3);
  const Drawn r(backend, residual ? Shape{rows, out} : Shape{1}, 1, 0, 4);
  Exec exec{backend, backend.memory()};
  const auto linear = backend.prepare_linear(w.view(), b.view());
  const Tensor extra = residual ? r.on(backend) : Tensor();
  const Tensor y = ops::linear(exec, *linear, x.on(backend), {.residual = extra.view()});
  Judge judge(backend, y);
  for (const std::int64_t row : places(rows)) {
    for (std::int64_t o = 0; o < out; o += std::max<std::int64_t>(1, out / 80)) {
      double sum = b.at(o) + (residual ? r.at(row * out + o) : 0);
      for (std::int64_t i = 0; i < in; ++i) sum += x.at(row * in + i) * w.at(o * in + i);
      judge.compare(row * out + o, sum);
    }
  }
  return judge.verdict();
}

Sampled sample_geglu(Backend& backend, std::int64_t rows, std::int64_t in, std::int64_t inner) {
  const Drawn x(backend, {rows, in}, 1, 0, 1), w(backend, {2 * inner, in}, fan(in), 0, 2);
  const Drawn b(backend, {2 * inner}, 0.5, 0, 3);
  Exec exec{backend, backend.memory()};
  const auto linear = backend.prepare_geglu(w.view(), b.view());
  const Tensor y = ops::geglu(exec, *linear, x.on(backend));
  Judge judge(backend, y);
  for (const std::int64_t row : places(rows)) {
    for (std::int64_t o = 0; o < inner; o += std::max<std::int64_t>(1, inner / 80)) {
      double value = b.at(o), gate = b.at(inner + o);
      for (std::int64_t i = 0; i < in; ++i) {
        value += x.at(row * in + i) * w.at(o * in + i);
        gate += x.at(row * in + i) * w.at((inner + o) * in + i);
      }
      judge.compare(row * inner + o, value * gelu(gate));
    }
  }
  return judge.verdict();
}

Sampled sample_group_norm(Backend& backend, const Shape& shape, int groups, NormExtent extent) {
  const std::int64_t c = shape[3], width = c / groups;
  const Drawn x(backend, shape, 2, 0.5, 1), scale(backend, {c}, 0.3, 1, 2);
  const Drawn shift(backend, {c}, 0.3, 0, 3);
  Exec exec{backend, backend.memory()};
  const auto norm = backend.prepare_norm(scale.view(), shift.view(), 1e-6);
  const Tensor y = ops::group_norm(exec, *norm, groups, extent, Activation::kSilu, x.on(backend));
  Judge judge(backend, y);
  const std::int64_t runs = extent == NormExtent::kPerFrame ? shape[0] : 1;
  const std::int64_t rows = shape.elements() / c / runs;
  for (const std::int64_t place : places(runs * groups)) {
    const std::int64_t base = place / groups * rows * c, first = place % groups * width;
    double sum = 0, squares = 0;
    const auto each = [&](const auto& body) {
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t i = 0; i < width; ++i) body(base + r * c + first + i, first + i);
      }
    };
    each([&](std::int64_t at, std::int64_t) { sum += x.at(at); });
    const double mean = sum / static_cast<double>(rows * width);
    each([&](std::int64_t at, std::int64_t) { squares += (x.at(at) - mean) * (x.at(at) - mean); });
    const double factor = 1 / std::sqrt(squares / static_cast<double>(rows * width) + 1e-6);
    each([&](std::int64_t at, std::int64_t channel) {
      const double v = (x.at(at) - mean) * factor * scale.at(channel) + shift.at(channel);
      judge.compare(at, v / (1 + std::exp(-v)));
    });
  }
  return judge.verdict();
}

Sampled sample_layer_norm(Backend& backend, std::int64_t rows, std::int64_t c) {
  const Drawn x(backend, {rows, c}, 2, 0.5, 1), scale(backend, {c}, 0.3, 1, 2);
  const Drawn shift(backend, {c}, 0.3, 0, 3);
  Exec exec{backend, backend.memory()};
  const auto norm = backend.prepare_norm(scale.view(), shift.view(), 1e-5);
  const Tensor y = ops::layer_norm(exec, *norm, x.on(backend));
  Judge judge(backend, y);
  for (const std::int64_t row : places(rows)) {
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < c; ++i) sum += x.at(row * c + i);
    const double mean = sum / static_cast<double>(c);
    for (std::int64_t i = 0; i < c; ++i) squares += std::pow(x.at(row * c + i) - mean, 2);
    const double factor = 1 / std::sqrt(squares / static_cast<double>(c) + 1e-5);
    for (std::int64_t i = 0; i < c; ++i) {
      judge.compare(row * c + i, (x.at(row * c + i) - mean) * factor * scale.at(i) + shift.at(i));
    }
  }
  return judge.verdict();
}

Sampled sample_attention(Backend& backend, std::int64_t n, std::int64_t queries, std::int64_t keys,
                         std::int64_t keys_batch, int heads, std::int64_t d) {
  const std::int64_t c = heads * d;
  const Drawn q(backend, {n, queries, c}, 1.5, 0, 1), k(backend, {keys_batch, keys, c}, 1, 0, 2);
  const Drawn v(backend, {keys_batch, keys, c}, 1, 0, 3);
  Exec exec{backend, backend.memory()};
  const Tensor y = ops::attention(exec, heads, false, q.on(backend), k.on(backend), v.on(backend));
  Judge judge(backend, y);
  for (const std::int64_t place : places(n * queries * heads)) {
    const std::int64_t row = place / heads, head = place % heads;
    const std::int64_t base = (keys_batch == 1 ? 0 : row / queries * keys * c) + head * d;
    const std::int64_t at = row * c + head * d;
    const auto out = attend(q, at, k, v, base, c, keys, d);
    for (std::int64_t i = 0; i < d; ++i) judge.compare(at + i, out[static_cast<std::size_t>(i)]);
  }
  return judge.verdict();
}

Sampled sample_temporal(Backend& backend, std::int64_t frames, std::int64_t positions, int heads,
                        std::int64_t d) {
  const std::int64_t c = heads * d;
  const Shape shape{frames, positions, c};
  const Drawn q(backend, shape, 1.5, 0, 1), k(backend, shape, 1, 0, 2), v(backend, shape, 1, 0, 3);
  Exec exec{backend, backend.memory()};
  const Tensor y =
      ops::temporal_attention(exec, heads, q.on(backend), k.on(backend), v.on(backend));
  Judge judge(backend, y);
  for (const std::int64_t place : places(frames * positions * heads)) {
    const std::int64_t frame = place / (positions * heads),
                       column = place % (positions * heads) * d;
    const std::int64_t at = frame * positions * c + column;
    const auto out = attend(q, at, k, v, column, positions * c, frames, d);
    for (std::int64_t i = 0; i < d; ++i) judge.compare(at + i, out[static_cast<std::size_t>(i)]);
  }
  return judge.verdict();
}

Sampled sample_joined(Backend& backend, bool over_frames, std::int64_t frames, std::int64_t rows,
                      int heads, std::int64_t d) {
  const std::int64_t c = heads * d;
  const Drawn qkv(backend, {frames, rows, 3 * c}, 1.2, 0, 1);
  Exec exec{backend, backend.memory()};
  const Tensor y = over_frames ? ops::temporal_self_attention(exec, heads, qkv.on(backend))
                               : ops::self_attention(exec, heads, qkv.on(backend));
  Judge judge(backend, y);
  for (const std::int64_t place : places(frames * rows * heads)) {
    const std::int64_t row = place / heads, column = place % heads * d;
    const std::int64_t query = row * 3 * c + column;
    const std::int64_t first = (over_frames ? row % rows : row / rows * rows) * 3 * c + column;
    const auto out = over_frames
                         ? attend(qkv, query, qkv, qkv, first + c, rows * 3 * c, frames, d, c)
                         : attend(qkv, query, qkv, qkv, first + c, 3 * c, rows, d, c);
    for (std::int64_t i = 0; i < d; ++i) {
      judge.compare(row * c + column + i, out[static_cast<std::size_t>(i)]);
    }
  }
  return judge.verdict();
}

}  // namespace seamwright::model::testing_support

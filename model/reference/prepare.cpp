#include "model/convert.h"
#include "model/reference/reference.h"
#include "model/reference/reference_backend.h"

namespace seamwright::model {

std::unique_ptr<Backend> make_reference_backend() {
  return std::make_unique<reference::ReferenceBackend>();
}

namespace reference {
namespace {

std::vector<double> as_doubles(ConstView stored) {
  std::vector<double> values(static_cast<std::size_t>(stored.elements()));
  convert(stored, View{values.data(), DType::kF64, stored.shape});
  return values;
}

std::vector<double> bias_or_zero(ConstView bias, std::int64_t out) {
  if (!bias) return std::vector<double>(static_cast<std::size_t>(out), 0.0);
  ensure(bias.shape == Shape({out}), "a bias {} does not fit {} outputs", bias.shape.to_string(),
         out);
  return as_doubles(bias);
}

std::size_t bytes_of(const std::vector<double>& a, const std::vector<double>& b) {
  return (a.size() + b.size()) * sizeof(double);
}

std::unique_ptr<Linear> transpose(ConstView weight, ConstView bias) {
  ensure(weight.shape.rank() == 2, "a linear weight must be [out, in], not {}",
         weight.shape.to_string());
  auto linear = std::make_unique<Linear>();
  linear->out = weight.shape[0];
  linear->in = weight.shape[1];
  linear->bias = bias_or_zero(bias, linear->out);
  const std::vector<double> stored = as_doubles(weight);
  linear->weight.resize(stored.size());
  for (std::int64_t o = 0; o < linear->out; ++o) {
    for (std::int64_t i = 0; i < linear->in; ++i) {
      linear->weight[static_cast<std::size_t>(i * linear->out + o)] =
          stored[static_cast<std::size_t>(o * linear->in + i)];
    }
  }
  linear->resident_bytes = bytes_of(linear->weight, linear->bias);
  return linear;
}

}  // namespace

std::unique_ptr<PreparedConv> ReferenceBackend::prepare_conv(const ConvSpec& spec, ConstView weight,
                                                             ConstView bias) {
  ensure(weight.shape == Shape({spec.out, spec.in, spec.kernel, spec.kernel}),
         "a convolution weight {} does not fit {} -> {} channels, kernel {}",
         weight.shape.to_string(), spec.in, spec.out, spec.kernel);
  auto conv = std::make_unique<Conv>();
  conv->spec = spec;
  conv->bias = bias_or_zero(bias, spec.out);
  const std::vector<double> stored = as_doubles(weight);
  conv->weight.resize(stored.size());
  const std::int64_t taps = spec.kernel * spec.kernel;
  for (std::int64_t o = 0; o < spec.out; ++o) {
    for (std::int64_t i = 0; i < spec.in; ++i) {
      for (std::int64_t t = 0; t < taps; ++t) {
        conv->weight[static_cast<std::size_t>((t * spec.in + i) * spec.out + o)] =
            stored[static_cast<std::size_t>((o * spec.in + i) * taps + t)];
      }
    }
  }
  conv->resident_bytes = bytes_of(conv->weight, conv->bias);
  return conv;
}

std::unique_ptr<PreparedLinear> ReferenceBackend::prepare_linear(ConstView weight, ConstView bias) {
  return transpose(weight, bias);
}

std::unique_ptr<PreparedLinear> ReferenceBackend::prepare_geglu(ConstView weight, ConstView bias) {
  auto linear = transpose(weight, bias);
  ensure(linear->out % 2 == 0, "a GEGLU weight needs an even number of rows, not {}", linear->out);
  linear->out /= 2;
  return linear;
}

std::unique_ptr<PreparedNorm> ReferenceBackend::prepare_norm(ConstView scale, ConstView shift,
                                                             double eps) {
  ensure(scale.shape.rank() == 1 && scale.shape == shift.shape,
         "a norm's scale {} and shift {} must both be [C]", scale.shape.to_string(),
         shift.shape.to_string());
  auto norm = std::make_unique<Norm>();
  norm->channels = scale.shape[0];
  norm->eps = eps;
  norm->scale = as_doubles(scale);
  norm->shift = as_doubles(shift);
  norm->resident_bytes = bytes_of(norm->scale, norm->shift);
  return norm;
}

void ReferenceBackend::upload(ConstView host, View device) { convert(host, device); }
void ReferenceBackend::download(ConstView device, View host) { convert(device, host); }

}  // namespace reference
}  // namespace seamwright::model

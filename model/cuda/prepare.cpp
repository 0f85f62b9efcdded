// Loading: stored weights of any float type to the device, in the layout that ops read.
#include <cstring>

#include "model/convert.h"
#include "model/cuda/backend.h"

namespace seamwright::model::cuda {
namespace {

std::size_t bytes_of(const Tensor& a, const Tensor& b) {
  return a.view().bytes() + (b ? b.view().bytes() : 0);
}

std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

template <class Word>
void lay_channels_last(const Word* from, Word* to, std::int64_t out, std::int64_t in,
                       std::int64_t padded_in, std::int64_t taps) {
  for (std::int64_t o = 0; o < out; ++o) {
    for (std::int64_t t = 0; t < taps; ++t) {
      Word* row = to + (o * taps + t) * padded_in;
      const Word* column = from + o * in * taps + t;
      for (std::int64_t i = 0; i < in; ++i) row[i] = column[i * taps];
    }
  }
}

// [out, in, k, k] to [padded out, k, k, padded in], zeros in the padding; elements as they are.
// They may lie anywhere in a mapped file, so they are aligned first.
Tensor channels_last(ConstView stored, std::int64_t padded_out, std::int64_t padded_in) {
  const std::int64_t out = stored.shape[0], in = stored.shape[1];
  const std::int64_t taps = stored.shape[2] * stored.shape[3];
  Tensor aligned(heap(), stored.dtype, stored.shape);
  std::memcpy(aligned.view().data, stored.data, stored.bytes());
  Tensor laid(heap(), stored.dtype, {padded_out, stored.shape[2], stored.shape[3], padded_in});
  std::memset(laid.view().data, 0, laid.view().bytes());
  const auto lay = [&](auto word) {
    using Word = decltype(word);
    lay_channels_last(aligned.view().as<Word>(), laid.view().as<Word>(), out, in, padded_in, taps);
  };
  switch (byte_size(stored.dtype)) {
    case 2:
      lay(std::uint16_t{});
      break;
    case 4:
      lay(std::uint32_t{});
      break;
    default:
      lay(std::uint64_t{});
  }
  return laid;
}

}  // namespace

std::unique_ptr<CudaLinear> CudaBackend::make_linear(ConstView weight, ConstView bias) {
  ensure(weight.shape.rank() == 2, "a linear weight must be [out, in], not {}",
         weight.shape.to_string());
  auto linear = std::make_unique<CudaLinear>();
  linear->out = weight.shape[0];
  linear->in = weight.shape[1];
  linear->weight = resident(weight);
  if (bias) linear->bias = resident(bias);
  linear->resident_bytes = bytes_of(linear->weight, linear->bias);
  return linear;
}

std::unique_ptr<PreparedLinear> CudaBackend::prepare_linear(ConstView weight, ConstView bias) {
  return make_linear(weight, bias);
}

std::unique_ptr<PreparedLinear> CudaBackend::prepare_joined(std::span<const ConstView> weights) {
  auto linear = std::make_unique<CudaLinear>();
  for (const ConstView& weight : weights) {
    ensure(weight.shape.rank() == 2 && weight.shape[1] == weights.front().shape[1],
           "joined weights must be [out, in] with one `in`, not {} beside {}",
           weight.shape.to_string(), weights.front().shape.to_string());
    linear->out += weight.shape[0];
  }
  linear->in = weights.front().shape[1];
  linear->weight = Tensor(pool_, options_.activation, {linear->out, linear->in});
  std::int64_t at = 0;
  for (const ConstView& weight : weights) {
    upload(weight, linear->weight.view().slice(at, weight.shape[0]));
    at += weight.shape[0];
  }
  linear->resident_bytes = linear->weight.view().bytes();
  return linear;
}

std::unique_ptr<PreparedLinear> CudaBackend::prepare_geglu(ConstView weight, ConstView bias) {
  auto linear = make_linear(weight, bias);
  ensure(linear->out % 2 == 0, "a GEGLU weight needs an even number of rows, not {}", linear->out);
  linear->out /= 2;
  linear->gated = true;
  return linear;
}

std::unique_ptr<PreparedConv> CudaBackend::prepare_conv(const ConvSpec& spec, ConstView weight,
                                                        ConstView bias) {
  ensure(weight.shape == Shape({spec.out, spec.in, spec.kernel, spec.kernel}),
         "a convolution weight {} does not fit {} -> {} channels, kernel {}",
         weight.shape.to_string(), spec.in, spec.out, spec.kernel);
  auto conv = std::make_unique<CudaConv>();
  conv->spec = spec;
  const bool wide = spec.wide_result && options_.activation != DType::kF32;
  conv->pointwise = !wide && spec.kernel == 1 && spec.stride == 1 &&
                    spec.pad_top + spec.pad_left == 0 && spec.pad_bottom + spec.pad_right == 0;
  const std::int64_t multiple = options_.activation == DType::kF32 || conv->pointwise ? 1 : 8;
  conv->padded_in = round_up(spec.in, multiple);
  conv->padded_out = round_up(spec.out, multiple);
  conv->weight = resident(channels_last(weight, conv->padded_out, conv->padded_in));
  if (conv->pointwise) conv->weight.reshape({spec.out, spec.in});
  if (bias) conv->bias = resident(bias, wide ? DType::kF32 : options_.activation);
  conv->resident_bytes = bytes_of(conv->weight, conv->bias);
  return conv;
}

std::unique_ptr<PreparedNorm> CudaBackend::prepare_norm(ConstView scale, ConstView shift,
                                                        double eps) {
  ensure(scale.shape.rank() == 1 && scale.shape == shift.shape,
         "a norm's scale {} and shift {} must both be [C]", scale.shape.to_string(),
         shift.shape.to_string());
  auto norm = std::make_unique<CudaNorm>();
  norm->channels = scale.elements();
  norm->eps = eps;
  norm->scale = resident(scale, DType::kF32);
  norm->shift = resident(shift, DType::kF32);
  norm->resident_bytes = bytes_of(norm->scale, norm->shift);
  return norm;
}

}  // namespace seamwright::model::cuda

// Linear layers: matrix products with what can be added on the way out.
#include <algorithm>

#include "model/cuda/backend.h"

namespace seamwright::model::cuda {
namespace {

// Values and gates of a GEGLU held at a time, in elements, and what the rows of a part divide by.
// Parts that fit the second-level cache took longer on an H100, since their products are too short;
// so did two products that cuDNN compiles with their gate.
constexpr std::int64_t kGatedElements = std::int64_t{256} << 20;
constexpr std::int64_t kRowMultiple = 128;

bool plain(Activation activation) { return activation == Activation::kNone; }

}  // namespace

// In place: y = last(activation(y + bias + per_channel) + residual).
void CudaBackend::finish_in_place(ConstView bias, const Epilogue& epilogue, View y) {
  EpilogueCall call;
  call.x = y.data;
  call.bias = bias.data;
  call.per_channel = epilogue.per_channel.data;
  call.per_channel_rows =
      epilogue.per_channel.shape.rank() == 2 ? epilogue.per_channel.shape[0] : 1;
  call.residual = epilogue.residual.data;
  call.y = y.data;
  call.channels = call.x_stride = y.shape.last();
  call.rows = y.elements() / call.channels;
  call.activation = static_cast<ActivationCode>(epilogue.activation);
  call.last = static_cast<ActivationCode>(epilogue.last);
  finish(element_of(y.dtype), call, stream_);
}

void CudaBackend::product(const Tensor& weight, ConstView bias, std::int64_t rows, ConstView x,
                          const Epilogue& epilogue, View y) {
  Product p;
  p.rows = rows;
  p.out = weight.shape()[0];
  p.in = weight.shape()[1];
  p.x_stride = p.w_stride = p.in;
  p.y_stride = p.out;
  p.type = p.result_type = options_.activation;
  p.bias = static_cast<bool>(bias);
  ProductOperands operands{x.data, weight.view().data, bias.data, nullptr, y.data};
  // A product adds bias and residual before it rounds, in that order of the epilogue only where
  // nothing stands between them.
  Epilogue rest = epilogue;
  const bool simple = !epilogue.per_channel && plain(epilogue.activation);
  if (simple && epilogue.residual) {
    p.residual = true;
    operands.residual = epilogue.residual.data;
    rest.residual = {};
  }
  if (simple && p.bias && epilogue.last == Activation::kRelu) {
    p.relu = true;
    rest.last = Activation::kNone;
  }
  calls_->multiply(p, operands, stream_);
  if (!rest.per_channel && plain(rest.activation) && !rest.residual && plain(rest.last)) return;
  finish_in_place({}, rest, y);
}

void CudaBackend::linear(const PreparedLinear& prepared, ConstView x, const Epilogue& epilogue,
                         View y, Allocator&) {
  calls_->bind_thread();
  const auto& linear = as<CudaLinear>(prepared);
  ensure(!linear.gated, "linear: these weights are a GEGLU's");
  if (y.elements() == 0) return;
  product(linear.weight, linear.bias, x.elements() / linear.in, x, epilogue, y);
}

void CudaBackend::geglu(const PreparedLinear& prepared, ConstView x, View y, Allocator& scratch) {
  calls_->bind_thread();
  const auto& linear = as<CudaLinear>(prepared);
  ensure(linear.gated, "geglu: these weights are a plain linear layer's");
  if (y.elements() == 0) return;
  const std::int64_t rows = x.elements() / linear.in;
  const std::int64_t wide = 2 * linear.out, parts = ceil_div(rows * wide, kGatedElements);
  const std::int64_t part = std::min(rows, ceil_div(rows, parts * kRowMultiple) * kRowMultiple);
  Tensor both(scratch, options_.activation, {part, wide});
  const auto size = static_cast<std::int64_t>(byte_size(options_.activation));
  for (std::int64_t first = 0; first < rows; first += part) {
    Product p;
    p.rows = std::min(part, rows - first);
    p.in = p.x_stride = p.w_stride = linear.in;
    p.out = p.y_stride = wide;
    p.type = p.result_type = options_.activation;
    calls_->multiply(p,
                     {x.as<std::byte>() + first * linear.in * size, linear.weight.view().data,
                      nullptr, nullptr, both.view().data},
                     stream_);
    gate(element(), both.view().data, linear.bias ? linear.bias.view().data : nullptr,
         y.as<std::byte>() + first * linear.out * size, p.rows, linear.out, stream_);
  }
}

}  // namespace seamwright::model::cuda

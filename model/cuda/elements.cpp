// Norms and ops that touch each element once.
#include <cstring>

#include "model/cuda/backend.h"

namespace seamwright::model::cuda {

void CudaBackend::group_norm(const PreparedNorm& prepared, int groups, NormExtent extent,
                             Activation activation, ConstView x, View y, Allocator& scratch) {
  calls_->bind_thread();
  const auto& norm = as<CudaNorm>(prepared);
  GroupNormCall call;
  call.x = x.data;
  call.y = y.data;
  call.scale = norm.scale.view().as<float>();
  call.shift = norm.shift.view().as<float>();
  call.eps = static_cast<float>(norm.eps);
  call.runs = extent == NormExtent::kPerFrame ? x.shape[0] : 1;
  call.rows = x.elements() / norm.channels / call.runs;
  call.channels = static_cast<int>(norm.channels);
  call.groups = groups;
  call.silu = activation == Activation::kSilu;
  Tensor sums(scratch, DType::kF32, {group_norm_scratch(call)});
  cuda::group_norm(element(), call, sums.view().as<float>(), stream_);
  if (activation != Activation::kNone && !call.silu) activate(activation, y, y);
}

void CudaBackend::layer_norm(const PreparedNorm& prepared, ConstView x, ConstView position,
                             View y) {
  calls_->bind_thread();
  const auto& norm = as<CudaNorm>(prepared);
  if (y.elements() == 0) return;
  LayerNormCall call;
  call.x = x.data;
  call.y = y.data;
  call.scale = norm.scale.view().as<float>();
  call.shift = norm.shift.view().as<float>();
  call.position = position.data;
  call.eps = static_cast<float>(norm.eps);
  call.channels = static_cast<int>(norm.channels);
  call.rows = x.elements() / norm.channels;
  if (position) call.rows_per_position = call.rows / x.shape[0];
  cuda::layer_norm(element(), call, stream_);
}

void CudaBackend::add(ConstView a, ConstView b, View y) {
  calls_->bind_thread();
  cuda::add(element(), a.data, b.data, y.data, y.elements(), stream_);
}

void CudaBackend::activate(Activation activation, ConstView x, View y) {
  calls_->bind_thread();
  cuda::activate(element(), static_cast<ActivationCode>(activation), x.data, y.data, y.elements(),
                 stream_);
}

void CudaBackend::soft_clamp(double limit, ConstView x, View y) {
  calls_->bind_thread();
  cuda::soft_clamp(element(), static_cast<float>(limit), x.data, y.data, y.elements(), stream_);
}

void CudaBackend::affine(double scale, double shift, ConstView x, View y) {
  calls_->bind_thread();
  cuda::affine(element(), static_cast<float>(scale), static_cast<float>(shift), x.data, y.data,
               y.elements(), stream_);
}

void CudaBackend::concat_channels(ConstView a, ConstView b, View y) {
  calls_->bind_thread();
  const std::int64_t width = y.shape.last();
  if (y.elements() == 0) return;
  concat(element(), a.data, a.shape.last(), b.data, b.shape.last(), y.data, y.elements() / width,
         stream_);
}

void CudaBackend::upsample_nearest(ConstView x, View y) {
  calls_->bind_thread();
  upsample(element(), x.data, {x.shape[1], x.shape[2]}, y.data, {y.shape[1], y.shape[2]},
           y.shape[0], y.shape[3], stream_);
}

void CudaBackend::pixels_to_rgb8(ConstView x, View y) {
  calls_->bind_thread();
  to_rgb8(element_of(x.dtype), x.data, y.as<std::uint8_t>(), y.elements(), stream_);
}

void CudaBackend::gather_rows(ConstView table, std::span<const std::int32_t> ids, View y) {
  check_not_capturing("a gathering");
  calls_->bind_thread();
  if (ids.empty()) return;
  const auto count = static_cast<std::int64_t>(ids.size());
  Tensor on_device(pool_, DType::kI32, {count});
  std::memcpy(ring_.next(ids.size_bytes()).data(), ids.data(), ids.size_bytes());
  ring_.send(ids.size_bytes(), on_device.view().data);
  gather(element(), table.data, on_device.view().as<std::int32_t>(), y.data, count, table.shape[1],
         stream_);
}

}  // namespace seamwright::model::cuda

// Checked ops: validate shapes, allocate the result, call the backend.
// Threads: one execution context per thread.
#pragma once

#include <cstdint>
#include <span>

#include "model/backend.h"
#include "model/tensor.h"

namespace seamwright::model {

// What a network runs on: passed explicitly to everything that computes.
struct Exec {
  Backend& backend;
  Allocator& arena;  // activations and scratch; often a planned Arena over backend.memory()
};

namespace ops {

Tensor conv2d(Exec& exec, const PreparedConv& conv, ConstView x, const Epilogue& epilogue = {});
// What a linear layer gives: activation_type(), or wide_type()
// where the backend has wide_residuals().
enum class Result : std::uint8_t { kNarrow, kWide };
Tensor linear(Exec& exec, const PreparedLinear& linear, ConstView x, const Epilogue& epilogue = {},
              Result result = Result::kNarrow);
Tensor geglu(Exec& exec, const PreparedLinear& linear, ConstView x);
Tensor group_norm(Exec& exec, const PreparedNorm& norm, int groups, NormExtent extent,
                  Activation activation, ConstView x);
Tensor layer_norm(Exec& exec, const PreparedNorm& norm, ConstView x, ConstView position = {});
Tensor attention(Exec& exec, int heads, bool causal, ConstView q, ConstView k, ConstView v);
Tensor temporal_attention(Exec& exec, int heads, ConstView q, ConstView k, ConstView v);
// The same with q, k and v side by side, [N, S, 3 * heads * D]: where
// Backend::joined_projections().
Tensor self_attention(Exec& exec, int heads, ConstView qkv);
Tensor temporal_self_attention(Exec& exec, int heads, ConstView qkv);
Tensor add(Exec& exec, ConstView a, ConstView b);
Tensor activate(Exec& exec, Activation activation, ConstView x);
Tensor soft_clamp(Exec& exec, double limit, ConstView x);
Tensor affine(Exec& exec, double scale, double shift, ConstView x);
Tensor concat_channels(Exec& exec, ConstView a, ConstView b);
Tensor upsample_nearest(Exec& exec, ConstView x, std::int64_t height, std::int64_t width);
// A decoder's values in [-1, 1] to 8 bits; see Backend.
Tensor pixels_to_rgb8(Exec& exec, ConstView x);
Tensor gather_rows(Exec& exec, ConstView table, std::span<const std::int32_t> ids);
// Host f32 (or f64) values to a new tensor of the activation type.
Tensor upload(Exec& exec, ConstView host);

}  // namespace ops
}  // namespace seamwright::model

#include "model/nets/resnet.h"

namespace seamwright::model {
namespace {

ConvSpec last_conv(const ResnetSpec& spec, const Backend& backend) {
  ConvSpec conv = ConvSpec::same(spec.out, spec.out, 3);
  conv.wide_result = spec.result == ops::Result::kWide && backend.wide_residuals();
  return conv;
}

}  // namespace

ResnetBlock2D::ResnetBlock2D(const Scope& scope, const ResnetSpec& spec)
    : norm1_(scope / "norm1", spec.in, spec.groups, spec.eps),
      conv1_(scope / "conv1", ConvSpec::same(spec.in, spec.out, 3)),
      norm2_(scope / "norm2", spec.out, spec.groups, spec.eps),
      conv2_(scope / "conv2", last_conv(spec, scope.load.backend)),
      result_(spec.result) {
  if (spec.time_channels > 0) {
    time_emb_proj_.emplace(scope / "time_emb_proj", spec.time_channels, spec.out);
  }
  if (spec.in != spec.out) conv_shortcut_.emplace(scope / "conv_shortcut", spec.in, spec.out);
}

Tensor ResnetBlock2D::operator()(Exec& exec, ConstView x, ConstView silu_temb) const {
  Tensor h = norm1_(exec, x, Activation::kSilu);  // [F, H, W, in]
  Tensor temb;
  if (time_emb_proj_) temb = (*time_emb_proj_)(exec, silu_temb);    // [1, out]
  h = conv1_(exec, h, {.per_channel = temb.view()});                // [F, H, W, out]
  h = norm2_(exec, h, Activation::kSilu);                           // [F, H, W, out]
  if (!conv_shortcut_) return conv2_(exec, h, {.residual = x});     // [F, H, W, out]
  const Tensor shortcut = (*conv_shortcut_)(exec, x, {}, result_);  // [F, H, W, out]
  return conv2_(exec, h, {.residual = shortcut});                   // [F, H, W, out]
}

}  // namespace seamwright::model

#include "model/layers.h"

#include <array>

#include "model/convert.h"

namespace seamwright::model {
namespace {

ConstView claim_bias(const Scope& scope, Bias bias, std::int64_t out) {
  return bias == Bias::kYes ? scope.claim("bias", {out}) : ConstView{};
}

// The weight of a linear layer, whichever of its two stored ranks it has.
ConstView claim_matrix(const Scope& scope, std::int64_t in, std::int64_t out) {
  const auto stored = scope.load.ledger.source().find((scope / "weight").name);
  const bool pointwise = stored && stored->shape == Shape({out, in, 1, 1});
  const ConstView weight = scope.claim("weight", pointwise ? Shape{out, in, 1, 1} : Shape{out, in});
  return weight.reshaped({out, in});
}

template <class Prepared>
std::unique_ptr<Prepared> counted(LoadContext& load, std::unique_ptr<Prepared> prepared) {
  load.resident_bytes += prepared->resident_bytes;
  return prepared;
}

std::unique_ptr<PreparedNorm> load_norm(const Scope& scope, std::int64_t channels, double eps) {
  const ConstView scale = scope.claim("weight", {channels});
  const ConstView shift = scope.claim("bias", {channels});
  return counted(scope.load, scope.load.backend.prepare_norm(scale, shift, eps));
}

}  // namespace

Scope Scope::operator/(std::string_view child) const {
  return {load, name.empty() ? std::string(child) : fmt::format("{}.{}", name, child)};
}

ConstView Scope::claim(std::string_view child, const Shape& shape) const {
  const std::string full = (*this / child).name;
  const ConstView view = load.ledger.claim(full, shape);
  switch (view.dtype) {
    case DType::kF64:
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
    default:
      fail(ErrorCode::kCorrupt,
           "{}: tensor '{}' has element type {}, but weights must be F64, F32, F16 or BF16",
           load.ledger.source().description(), full, to_string(view.dtype));
  }
  load.parameters += view.elements();
  return view;
}

Conv::Conv(const Scope& scope, const ConvSpec& spec, Bias bias) {
  const ConstView weight = scope.claim("weight", {spec.out, spec.in, spec.kernel, spec.kernel});
  const ConstView shift = claim_bias(scope, bias, spec.out);
  conv_ = counted(scope.load, scope.load.backend.prepare_conv(spec, weight, shift));
}

Tensor Conv::operator()(Exec& exec, ConstView x, const Epilogue& epilogue) const {
  return ops::conv2d(exec, *conv_, x, epilogue);
}

Linear::Linear(const Scope& scope, std::int64_t in, std::int64_t out, Bias bias) {
  const ConstView weight = claim_matrix(scope, in, out);
  const ConstView shift = claim_bias(scope, bias, out);
  linear_ = counted(scope.load, scope.load.backend.prepare_linear(weight, shift));
}

Tensor Linear::operator()(Exec& exec, ConstView x, const Epilogue& epilogue,
                          ops::Result result) const {
  return ops::linear(exec, *linear_, x, epilogue, result);
}

JoinedProjections::JoinedProjections(const Scope& scope, std::int64_t channels) {
  const std::array weights{claim_matrix(scope / "to_q", channels, channels),
                           claim_matrix(scope / "to_k", channels, channels),
                           claim_matrix(scope / "to_v", channels, channels)};
  linear_ = counted(scope.load, scope.load.backend.prepare_joined(weights));
}

Tensor JoinedProjections::operator()(Exec& exec, ConstView x) const {
  return ops::linear(exec, *linear_, x);
}

Geglu::Geglu(const Scope& scope, std::int64_t in, std::int64_t inner) {
  const ConstView weight = scope.claim("weight", {2 * inner, in});
  const ConstView bias = scope.claim("bias", {2 * inner});
  linear_ = counted(scope.load, scope.load.backend.prepare_geglu(weight, bias));
}

Tensor Geglu::operator()(Exec& exec, ConstView x) const { return ops::geglu(exec, *linear_, x); }

GroupNorm::GroupNorm(const Scope& scope, std::int64_t channels, int groups, double eps,
                     NormExtent extent)
    : norm_(load_norm(scope, channels, eps)), groups_(groups), extent_(extent) {
  require(groups > 0 && channels % groups == 0,
          "{}: {} channels do not divide into norm_num_groups = {} (config.json)", scope.name,
          channels, groups);
}

Tensor GroupNorm::operator()(Exec& exec, ConstView x, Activation activation) const {
  return ops::group_norm(exec, *norm_, groups_, extent_, activation, x);
}

LayerNorm::LayerNorm(const Scope& scope, std::int64_t channels, double eps)
    : norm_(load_norm(scope, channels, eps)) {}

Tensor LayerNorm::operator()(Exec& exec, ConstView x, ConstView position) const {
  return ops::layer_norm(exec, *norm_, x, position);
}

Tensor load_table(const Scope& scope, std::string_view child, const Shape& shape) {
  const ConstView stored = scope.claim(child, shape);
  if (stored.dtype == DType::kF32 || stored.dtype == DType::kF64) {
    return resident_copy(scope.load, stored);
  }
  return resident_copy(scope.load, converted(stored, DType::kF32));
}

Tensor resident_copy(LoadContext& load, ConstView host) {
  Tensor table(load.backend.memory(), load.backend.activation_type(), host.shape);
  load.backend.upload(host, table);
  load.resident_bytes += table.view().bytes();
  return table;
}

}  // namespace seamwright::model

// Attention as cuDNN knows it: q, k, v and y are [n, heads, rows, head size], strided.
#include <array>
#include <cmath>

#include "model/cuda/vendor/dnn.h"

namespace seamwright::model::cuda {
namespace {

constexpr std::int64_t kQ = 'q', kK = 'k', kV = 'v', kY = 'y', kScale = 's';
constexpr std::int64_t kBetween = 1000;  // ids of tensors between operations

// [n, rows, heads, size] in memory as [n, heads, rows, size].
DnnDims strides_of(std::int64_t rows, std::int64_t heads, std::int64_t size) {
  return {rows * heads * size, size, heads * size, 1};
}

DnnDescriptor rows_of(std::int64_t id, const Attention& a, std::int64_t rows) {
  return dnn_tensor(id, a.type, {a.n, a.heads, rows, a.head_size},
                    strides_of(rows, a.heads, a.head_size));
}

DnnDescriptor scale_tensor() {
  return dnn_tensor(kScale, DType::kF32, {1, 1, 1, 1}, {1, 1, 1, 1}, DnnTensorKind::kByValue);
}

DnnParts one_operation(const Attention& a, cudnnHandle_t handle) {
  DnnParts parts;
  const auto q = parts.add(rows_of(kQ, a, a.queries)), k = parts.add(rows_of(kK, a, a.keys)),
             v = parts.add(rows_of(kV, a, a.keys)), y = parts.add(rows_of(kY, a, a.queries)),
             scale = parts.add(scale_tensor());
  DnnDescriptor op(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, parts.at(q));
  op.set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, parts.at(k));
  op.set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, parts.at(v));
  op.set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, parts.at(y));
  op.set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, parts.at(scale));
  op.finalize("describing attention");
  const std::array operations{parts.add(std::move(op))};
  add_graph(parts, operations, handle);
  return parts;
}

// The pattern by which cuDNN knows fused attention: product, scale, softmax as maximum, difference,
// exponential, sum and quotient, product.
class PartsGraph {
 public:
  PartsGraph(const Attention& a, cudnnHandle_t handle) : a_(a) {
    const auto q = parts_.add(rows_of(kQ, a, a.queries)), v = parts_.add(rows_of(kV, a, a.keys)),
               y = parts_.add(rows_of(kY, a, a.queries)), scale = parts_.add(scale_tensor());
    const auto rows = strides_of(a.keys, a.heads, a.head_size);
    const auto k = parts_.add(dnn_tensor(kK, a.type, {a.n, a.heads, a.head_size, a.keys},
                                         {rows[0], rows[1], rows[3], rows[2]}));
    const auto raw = between(a.keys), scores = between(a.keys), top = between(1),
               below = between(a.keys), powers = between(a.keys), sum = between(1),
               weights = between(a.keys, a.type);
    multiply(q, k, raw);
    pointwise(CUDNN_POINTWISE_MUL, raw, scale, scores);
    reduce(CUDNN_REDUCE_TENSOR_MAX, scores, top);
    pointwise(CUDNN_POINTWISE_SUB, scores, top, below);
    pointwise(CUDNN_POINTWISE_EXP, below, kNone, powers);
    reduce(CUDNN_REDUCE_TENSOR_ADD, powers, sum);
    pointwise(CUDNN_POINTWISE_DIV, powers, sum, weights);
    multiply(weights, v, y);
    add_graph(parts_, operations_, handle);
  }
  DnnParts take() { return std::move(parts_); }

 private:
  static constexpr std::size_t kNone = SIZE_MAX;

  std::size_t between(std::int64_t columns, DType type = DType::kF32) {
    return parts_.add(dnn_tensor(next_++, type, {a_.n, a_.heads, a_.queries, columns},
                                 {a_.heads * a_.queries * columns, a_.queries * columns, columns, 1},
                                 DnnTensorKind::kVirtual));
  }
  void finish(DnnDescriptor op) {
    op.finalize("describing an operation");
    operations_.push_back(parts_.add(std::move(op)));
  }
  void multiply(std::size_t a, std::size_t b, std::size_t c) {
    DnnDescriptor how(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    how.set_type(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
    how.finalize("describing a product");
    DnnDescriptor op(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, parts_.at(a));
    op.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, parts_.at(b));
    op.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, parts_.at(c));
    op.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, parts_.at(parts_.add(std::move(how))));
    finish(std::move(op));
  }
  void pointwise(cudnnPointwiseMode_t mode, std::size_t x, std::size_t b, std::size_t y) {
    DnnDescriptor how(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    how.set_type(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    how.finalize("describing a pointwise operation");
    DnnDescriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, parts_.at(x));
    if (b != kNone) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, parts_.at(b));
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, parts_.at(y));
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, parts_.at(parts_.add(std::move(how))));
    finish(std::move(op));
  }
  void reduce(cudnnReduceTensorOp_t mode, std::size_t x, std::size_t y) {
    DnnDescriptor how(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    how.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &mode);
    how.set_type(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    how.finalize("describing a reduction");
    DnnDescriptor op(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, parts_.at(x));
    op.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, parts_.at(y));
    op.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, parts_.at(parts_.add(std::move(how))));
    finish(std::move(op));
  }

  const Attention& a_;
  DnnParts parts_;
  std::vector<std::size_t> operations_;
  std::int64_t next_ = kBetween;
};

DnnParts graph_of(const Attention& a, DnnAttention told, cudnnHandle_t handle) {
  return told == DnnAttention::kOne ? one_operation(a, handle) : PartsGraph(a, handle).take();
}

}  // namespace

DnnPlan Dnn::plan_attention(const Attention& attention, DnnAttention told) {
  try {
    return choose_plan(graph_of(attention, told, handle_), rules_for(attention), handle_);
  } catch (const Error&) {  // an operation or a size that this cuDNN does not describe
    return nullptr;
  }
}

std::vector<std::string> Dnn::survey(const Attention& attention, DnnAttention told) {
  try {
    return survey_engines(graph_of(attention, told, handle_), rules_for(attention), handle_);
  } catch (const Error& error) {
    return {error.what()};
  }
}

const DnnPlan& Dnn::plan_for(const Attention& attention) {
  if (const DnnPlan* known = attentions_.find(attention)) return *known;
  DnnPlan plan = plan_attention(attention, DnnAttention::kParts);
  if (plan == nullptr) plan = plan_attention(attention, DnnAttention::kOne);
  return attentions_.put(attention, std::move(plan));
}

bool Dnn::can_attend(const Attention& attention) {
  return attention.type != DType::kF32 && plan_for(attention) != nullptr;
}

void Dnn::attend(const Attention& attention, const AttentionOperands& operands, void* workspace,
                 Stream stream) {
  attend_by(plan_for(attention), attention, operands, workspace, stream);
}

void Dnn::attend_by(const DnnPlan& plan, const Attention& attention,
                    const AttentionOperands& operands, void* workspace, Stream stream) {
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(attention.head_size)));
  const std::array<std::int64_t, 5> ids{kQ, kK, kV, kY, kScale};
  const std::array<const void*, 5> data{operands.q, operands.k, operands.v, operands.y, &scale};
  execute_plan(plan, ids, data, workspace, handle_, stream, "attention");
}

}  // namespace seamwright::model::cuda

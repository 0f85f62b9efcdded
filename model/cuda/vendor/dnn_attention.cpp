// Attention as cuDNN 9.13 and newer know it: one operation, whose q, k, v and y are [n, heads,
// rows, head size], strided.
#include <array>
#include <cmath>

#include "model/cuda/vendor/dnn.h"

namespace seamwright::model::cuda {
namespace {

constexpr std::int64_t kQ = 'q', kK = 'k', kV = 'v', kY = 'y', kScale = 's';

// [entries, rows, heads, size] in memory, `row` elements from row to row, as [n, heads, rows,
// size].
DnnDescriptor rows_of(std::int64_t id, const Attention& a, std::int64_t rows, std::int64_t row,
                      bool shared) {
  const std::array dims{a.n, a.heads, rows, a.head_size};
  const std::array strides{shared ? 0 : rows * row, a.head_size, row, std::int64_t{1}};
  return dnn_tensor(id, a.type, dims, strides);
}

DnnDescriptor scale_tensor() {
  const std::array<std::int64_t, 4> ones{1, 1, 1, 1};
  return dnn_tensor(kScale, DType::kF32, ones, ones, DnnTensorKind::kByValue);
}

DnnParts graph_of(const Attention& a, cudnnHandle_t handle) {
  DnnParts parts;
  const auto q = parts.add(rows_of(kQ, a, a.queries, a.row, false)),
             k = parts.add(rows_of(kK, a, a.keys, a.row, a.shared_keys)),
             v = parts.add(rows_of(kV, a, a.keys, a.row, a.shared_keys)),
             y = parts.add(rows_of(kY, a, a.queries, a.heads * a.head_size, false)),
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

}  // namespace

std::vector<std::string> Dnn::survey(const Attention& attention) {
  return survey_engines(graph_of(attention, handle_), rules_for(attention), handle_);
}

// On any thread: with a handle of its own.
Dnn::AttentionPlan Dnn::make_plan(const Attention& attention, const DnnRules& rules, int device) {
  if (cudaSetDevice(device) != cudaSuccess) return {};
  AttentionPlan made;
  try {
    cudnnHandle_t handle = nullptr;
    check_dnn(cudnnCreate(&handle), "starting");
    made.handle = {handle, [](cudnnHandle_t h) { cudnnDestroy(h); }};
    made.plan = choose_plan(graph_of(attention, handle), rules, handle);
  } catch (const Error&) {  // an operation or a size that this cuDNN does not describe
  }
  return made;
}

bool Dnn::can_attend(const Attention& attention) {
  if (attention.type == DType::kF32) return false;
  const AttentionPlan* planned = attentions_.ask(attention);
  return planned != nullptr && planned->plan != nullptr;
}

void Dnn::attend(const Attention& attention, const AttentionOperands& operands, void* workspace,
                 Stream stream) {
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(attention.head_size)));
  const std::array<std::int64_t, 5> ids{kQ, kK, kV, kY, kScale};
  const std::array<const void*, 5> data{operands.q, operands.k, operands.v, operands.y, &scale};
  const AttentionPlan& planned = attentions_.get(attention);
  execute_plan(planned.plan, ids, data, workspace, planned.handle.get(), stream, "attention");
}

}  // namespace seamwright::model::cuda

#include "model/cuda/vendor/dnn.h"

#include <array>

namespace seamwright::model::cuda {
namespace {

// dims are N, C, H, W as cuDNN counts them; the memory is channels last.
DnnDescriptor picture(std::int64_t id, DType type, const std::array<std::int64_t, 4>& dims) {
  const std::array strides{dims[1] * dims[2] * dims[3], std::int64_t{1}, dims[1] * dims[3],
                           dims[1]};
  return dnn_tensor(id, type, dims, strides);
}

constexpr std::int64_t kX = 'x', kW = 'w', kY = 'y';

DnnDescriptor convolution_of(const Convolution& c) {
  DnnDescriptor d(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const std::int64_t spatial = 2;
  const std::array<std::int64_t, 2> before{c.pad_top, c.pad_left}, after{c.pad_bottom, c.pad_right},
      strides{c.stride, c.stride}, dilations{1, 1};
  d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  d.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  d.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial);
  d.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before.data());
  d.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after.data());
  d.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides.data());
  d.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations.data());
  d.finalize("describing a convolution");
  return d;
}

// A graph of one convolution, behind everything that it names.
DnnParts graph_of(const Convolution& c, cudnnHandle_t handle) {
  DnnParts parts;
  const auto x = parts.add(picture(kX, c.type, {c.n, c.in, c.h, c.w}));
  const auto w = parts.add(picture(kW, c.type, {c.out, c.in, c.kernel, c.kernel}));
  const auto y = parts.add(picture(kY, c.result_type, {c.n, c.out, c.oh, c.ow}));
  const auto convolution = parts.add(convolution_of(c));
  DnnDescriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  const float one = 1, zero = 0;
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, parts.at(x));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, parts.at(w));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, parts.at(y));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, parts.at(convolution));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
  op.finalize("describing an operation");
  const std::array operations{parts.add(std::move(op))};
  add_graph(parts, operations, handle);
  return parts;
}

}  // namespace

Dnn::Dnn(std::size_t workspace_bytes, int device)
    : workspace_bytes_(workspace_bytes), device_(device) {
  check_dnn(cudnnCreate(&handle_), "starting");
}

Dnn::~Dnn() {
  convolutions_.clear();
  attentions_.clear();  // waits
  if (handle_ != nullptr) cudnnDestroy(handle_);
}

std::string Dnn::version() {
  const auto v = cudnnGetVersion();
  return fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

std::vector<std::string> Dnn::survey(const Convolution& convolution) {
  return survey_engines(graph_of(convolution, handle_), rules_for(convolution), handle_);
}

const DnnPlan& Dnn::plan_for(const Convolution& convolution) {
  if (const DnnPlan* known = convolutions_.find(convolution)) return *known;
  DnnPlan plan;
  try {
    plan = choose_plan(graph_of(convolution, handle_), rules_for(convolution), handle_);
  } catch (const Error&) {  // a combination of types or sizes that cuDNN does not describe
  }
  return convolutions_.put(convolution, std::move(plan));
}

void Dnn::convolve(const Convolution& convolution, const void* x, const void* w, void* y,
                   void* workspace, Stream stream) {
  const std::array<std::int64_t, 3> ids{kX, kW, kY};
  const std::array<const void*, 3> data{x, w, y};
  execute_plan(plan_for(convolution), ids, data, workspace, handle_, stream, "a convolution");
}

}  // namespace seamwright::model::cuda

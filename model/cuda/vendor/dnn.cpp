#include "model/cuda/vendor/dnn.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace seamwright::model::cuda {
namespace {

void check_dnn(cudnnStatus_t code, const char* what) {
  if (code == CUDNN_STATUS_SUCCESS) [[likely]] return;
  std::array<char, 512> detail{};
  cudnnGetLastErrorString(detail.data(), detail.size());
  fail(ErrorCode::kResource, "cuDNN: {} failed: {} {}", what, cudnnGetErrorString(code),
       detail.data());
}

cudnnDataType_t to_dnn(DType type) {
  switch (type) {
    case DType::kBF16:
      return CUDNN_DATA_BFLOAT16;
    case DType::kF16:
      return CUDNN_DATA_HALF;
    default:
      return CUDNN_DATA_FLOAT;
  }
}

using Four = std::array<std::int64_t, 4>;

// dims are N, C, H, W as cuDNN counts them; the memory is channels last.
DnnDescriptor tensor(std::int64_t id, DType type, const Four& dims) {
  DnnDescriptor t(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const cudnnDataType_t data = to_dnn(type);
  const std::int64_t alignment = 16;
  const Four strides{dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]};
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
  t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &data);
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims.data());
  t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
  t.finalize("describing a tensor");
  return t;
}

constexpr std::int64_t kX = 'x', kW = 'w', kY = 'y';

DnnDescriptor convolution_of(const Convolution& c) {
  DnnDescriptor d(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const std::int64_t spatial = 2;
  const std::array<std::int64_t, 2> before{c.pad_top, c.pad_left},
      after{c.pad_bottom, c.pad_right}, strides{c.stride, c.stride}, dilations{1, 1};
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

// Appends a graph of one convolution, behind everything that it names.
void add_graph(std::vector<DnnDescriptor>& parts, const Convolution& c, cudnnHandle_t handle) {
  const auto add = [&parts](DnnDescriptor made) {
    parts.push_back(std::move(made));
    return parts.size() - 1;
  };
  const auto x = add(tensor(kX, c.type, {c.n, c.in, c.h, c.w}));
  const auto w = add(tensor(kW, c.type, {c.out, c.in, c.kernel, c.kernel}));
  const auto y = add(tensor(kY, c.result_type, {c.n, c.out, c.oh, c.ow}));
  const auto convolution = add(convolution_of(c));
  DnnDescriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  const float one = 1, zero = 0;
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, parts[x]);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, parts[w]);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, parts[y]);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, parts[convolution]);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
  op.finalize("describing an operation");
  const auto operation = add(std::move(op));
  DnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, parts[operation]);
  graph.finalize("building a graph");
  add(std::move(graph));
}

// Reads up to N notes of an engine; none where it does not tell.
template <class Note, std::size_t N>
std::optional<std::vector<Note>> notes_of(const DnnDescriptor& engine,
                                          cudnnBackendAttributeName_t name,
                                          cudnnBackendAttributeType_t type) {
  std::array<Note, N> notes{};
  std::int64_t count = 0;
  if (cudnnBackendGetAttribute(engine.get(), name, type, N, &count, notes.data()) !=
      CUDNN_STATUS_SUCCESS) {
    return std::nullopt;
  }
  return std::vector<Note>(notes.begin(), notes.begin() + std::min<std::int64_t>(count, N));
}

DnnDescriptor engine_of(const DnnDescriptor& config) {
  DnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  std::int64_t count = 0;
  cudnnBackendDescriptor_t raw = engine.get();
  check_dnn(cudnnBackendGetAttribute(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &raw),
            "asking for an engine");
  return engine;
}

// "notes 0,4 behaviour 1": cudnn_graph.h has the names.
std::string notes_text(const DnnDescriptor& engine) {
  const auto text = [](const auto& notes) {
    if (!notes) return std::string("unknown");
    std::string all;
    for (const auto note : *notes) {
      all += fmt::format("{}{}", all.empty() ? "" : ",", static_cast<int>(note));
    }
    return all;
  };
  return fmt::format("notes [{}] behaviour [{}]",
                     text(notes_of<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT>(
                         engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE)),
                     text(notes_of<cudnnBackendBehaviorNote_t, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT>(
                         engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE)));
}

// Engines with their settings, best first as the heuristic thinks; none where it cannot tell.
std::pair<DnnDescriptor, std::vector<DnnDescriptor>> configs_of(const DnnDescriptor& graph,
                                                                cudnnBackendHeurMode_t mode) {
  DnnDescriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  std::vector<DnnDescriptor> configs;
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  std::int64_t count = 0, got = 0;
  const auto ask = [&](std::int64_t room, std::int64_t& answer, void* to) {
    return cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, room, &answer, to);
  };
  if (heuristic.try_finalize() && ask(0, count, nullptr) == CUDNN_STATUS_SUCCESS) {
    std::vector<cudnnBackendDescriptor_t> raw;
    for (std::int64_t i = 0; i < count; ++i) {
      raw.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
    }
    if (count > 0) check_dnn(ask(count, got, raw.data()), "listing engines");
    while (static_cast<std::int64_t>(configs.size()) > got) configs.pop_back();
  }
  return {std::move(heuristic), std::move(configs)};
}

// The bytes of workspace that the plan needs; none where the engine cannot run the graph.
std::optional<std::int64_t> finish_plan(DnnDescriptor& plan, const DnnDescriptor& config,
                                        cudnnHandle_t handle) {
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  if (!plan.try_finalize()) return std::nullopt;
  std::int64_t bytes = 0, one = 0;
  check_dnn(cudnnBackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                     CUDNN_TYPE_INT64, 1, &one, &bytes),
            "asking for a workspace's size");
  return bytes;
}

// Deterministic, in full precision, and ready to run.
bool acceptable(const DnnDescriptor& engine, DType type) {
  const auto numerical = notes_of<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT>(
      engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE);
  const auto behaviour = notes_of<cudnnBackendBehaviorNote_t, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT>(
      engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE);
  if (!numerical || !behaviour) return false;  // nothing is known of it
  for (const auto note : *numerical) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
        if (type == DType::kF32) return false;  // TF32
        break;
      case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP:
        break;
      default:  // rounds inputs or sums, transforms, or is not deterministic
        return false;
    }
  }
  for (const auto note : *behaviour) {
    if (note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION ||
        note == CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER) {
      return false;
    }
  }
  return true;
}

}  // namespace

DnnDescriptor::DnnDescriptor(cudnnBackendDescriptorType_t type) {
  check_dnn(cudnnBackendCreateDescriptor(type, &descriptor_), "creating a descriptor");
}

DnnDescriptor::~DnnDescriptor() {
  if (descriptor_ != nullptr) cudnnBackendDestroyDescriptor(descriptor_);
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        std::int64_t count, const void* values) {
  check_dnn(cudnnBackendSetAttribute(descriptor_, name, type, count, values),
            "setting an attribute");
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, const DnnDescriptor& other) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other.descriptor_);
}

void DnnDescriptor::finalize(const char* what) {
  check_dnn(cudnnBackendFinalize(descriptor_), what);
}

bool DnnDescriptor::try_finalize() {
  return cudnnBackendFinalize(descriptor_) == CUDNN_STATUS_SUCCESS;
}

Dnn::Dnn(std::size_t workspace_bytes) : workspace_bytes_(workspace_bytes) {
  check_dnn(cudnnCreate(&handle_), "starting");
}

Dnn::~Dnn() {
  plans_.clear();
  if (handle_ != nullptr) cudnnDestroy(handle_);
}

std::string Dnn::version() {
  const auto v = cudnnGetVersion();
  return fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

// Appends the first acceptable plan that the heuristic names, behind what it was made of.
bool Dnn::add_plan(Made& made, cudnnBackendHeurMode_t mode, const Convolution& convolution) {
  auto [heuristic, configs] = configs_of(made.parts.back(), mode);
  for (DnnDescriptor& config : configs) {
    if (!acceptable(engine_of(config), convolution.type)) continue;
    DnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    const auto bytes = finish_plan(plan, config, handle_);
    if (!bytes || *bytes > static_cast<std::int64_t>(workspace_bytes_)) continue;
    made.parts.push_back(std::move(heuristic));
    made.parts.push_back(std::move(config));
    made.parts.push_back(std::move(plan));
    return true;
  }
  return false;
}

std::vector<std::string> Dnn::survey(const Convolution& convolution) {
  std::vector<DnnDescriptor> parts;
  add_graph(parts, convolution, handle_);
  std::vector<std::string> lines;
  bool taken = false;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    auto [heuristic, configs] = configs_of(parts.back(), mode);
    for (const DnnDescriptor& config : configs) {
      const DnnDescriptor engine = engine_of(config);
      std::int64_t index = -1, one = 0;
      cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                               &one, &index);
      const auto notes = notes_text(engine);
      // Only what could be taken is built: others may compile for seconds.
      const bool good = acceptable(engine, convolution.type);
      DnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      const auto bytes = good ? finish_plan(plan, config, handle_) : std::nullopt;
      const bool fits = bytes && *bytes <= static_cast<std::int64_t>(workspace_bytes_);
      lines.push_back(fmt::format(
          "{} engine {} {}: {}", mode == CUDNN_HEUR_MODE_A ? "A" : "fallback", index, notes,
          !good    ? "not acceptable"
          : !bytes ? "no plan"
                   : fmt::format("workspace {}{}", *bytes, fits && !taken ? ", TAKEN" : "")));
      taken = taken || fits;
    }
  }
  return lines;
}

Dnn::Plan Dnn::make_plan(const Convolution& convolution) {
  auto made = std::make_shared<Made>();
  try {
    add_graph(made->parts, convolution, handle_);
  } catch (const Error&) {
    return nullptr;  // a combination of types or sizes that cuDNN does not describe
  }
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    if (add_plan(*made, mode, convolution)) return made;
  }
  return nullptr;
}

const Dnn::Plan& Dnn::plan_for(const Convolution& convolution) {
  if (const Plan* known = plans_.find(convolution)) return *known;
  return plans_.put(convolution, make_plan(convolution));
}

void Dnn::convolve(const Convolution& convolution, const void* x, const void* w, void* y,
                   void* workspace, Stream stream) {
  const Plan& made = plan_for(convolution);
  ensure(made != nullptr, "cuDNN has no engine for this convolution");
  check_dnn(cudnnSetStream(handle_, static_cast<cudaStream_t>(stream)), "setting a stream");
  DnnDescriptor operands(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  const std::array<std::int64_t, 3> ids{kX, kW, kY};
  const std::array<const void*, 3> data{x, w, y};
  operands.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids.data());
  operands.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, data.data());
  operands.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  operands.finalize("naming the operands");
  check_dnn(cudnnBackendExecute(handle_, made->plan().get(), operands.get()), "a convolution");
}

}  // namespace seamwright::model::cuda

#include "model/cuda/vendor/dnn_graph.h"

#include <algorithm>
#include <optional>

namespace seamwright::model::cuda {

void check_dnn(cudnnStatus_t code, const char* what) {
  if (code == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
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

DnnDescriptor dnn_tensor(std::int64_t id, DType type, std::span<const std::int64_t> dims,
                         std::span<const std::int64_t> strides, DnnTensorKind kind) {
  DnnDescriptor t(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const std::int64_t alignment = 16;
  const bool yes = true;
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
  t.set_type(CUDNN_ATTR_TENSOR_DATA_TYPE, to_dnn(type));
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  const auto rank = static_cast<std::int64_t>(dims.size());
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, rank, dims.data());
  t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, rank, strides.data());
  if (kind == DnnTensorKind::kByValue) {
    t.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
  }
  t.finalize("describing a tensor");
  return t;
}

void add_graph(DnnParts& parts, std::span<const std::size_t> operations, cudnnHandle_t handle) {
  DnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const std::size_t operation : operations) raw.push_back(parts.at(operation).get());
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
            static_cast<std::int64_t>(raw.size()), raw.data());
  graph.finalize("building a graph");
  parts.add(std::move(graph));
}

namespace {

constexpr cudnnBackendHeurMode_t kModes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};

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

bool acceptable(const DnnDescriptor& engine, const DnnRules& rules) {
  const auto numerical = notes_of<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT>(
      engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE);
  const auto behaviour = notes_of<cudnnBackendBehaviorNote_t, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT>(
      engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE);
  if (!numerical || !behaviour) return false;  // nothing is known of it
  for (const auto note : *numerical) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
        if (rules.type == DType::kF32) return false;  // TF32
        break;
      case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP:
        break;
      default:  // rounds inputs or sums, transforms, or is not deterministic
        return false;
    }
  }
  for (const auto note : *behaviour) {
    if (note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION && !rules.may_compile) return false;
    if (note == CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER) return false;
  }
  return true;
}

bool fits(const std::optional<std::int64_t>& bytes, const DnnRules& rules) {
  return bytes && *bytes <= static_cast<std::int64_t>(rules.workspace_bytes);
}

}  // namespace

DnnPlan choose_plan(DnnParts&& parts, const DnnRules& rules, cudnnHandle_t handle) {
  auto made = std::make_shared<DnnParts>(std::move(parts));
  for (const auto mode : kModes) {
    auto [heuristic, configs] = configs_of(made->last(), mode);
    for (DnnDescriptor& config : configs) {
      if (!acceptable(engine_of(config), rules)) continue;
      DnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      if (!fits(finish_plan(plan, config, handle), rules)) continue;
      made->add(std::move(heuristic));
      made->add(std::move(config));
      made->add(std::move(plan));
      return made;
    }
  }
  return nullptr;
}

std::vector<std::string> survey_engines(const DnnParts& parts, const DnnRules& rules,
                                        cudnnHandle_t handle) {
  std::vector<std::string> lines;
  bool taken = false;
  for (const auto mode : kModes) {
    auto [heuristic, configs] = configs_of(parts.last(), mode);
    for (const DnnDescriptor& config : configs) {
      const DnnDescriptor engine = engine_of(config);
      std::int64_t index = -1, one = 0;
      cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                               &one, &index);
      // Only what could be taken is built: others may compile for seconds.
      const bool good = acceptable(engine, rules);
      DnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      const auto bytes = good ? finish_plan(plan, config, handle) : std::nullopt;
      const bool fit = fits(bytes, rules);
      lines.push_back(fmt::format(
          "{} engine {} {}: {}", mode == CUDNN_HEUR_MODE_A ? "A" : "fallback", index,
          notes_text(engine),
          !good    ? "not acceptable"
          : !bytes ? "no plan"
                   : fmt::format("workspace {}{}", *bytes, fit && !taken ? ", TAKEN" : "")));
      taken = taken || fit;
    }
  }
  return lines;
}

void execute_plan(const DnnPlan& plan, std::span<const std::int64_t> ids,
                  std::span<const void* const> data, void* workspace, cudnnHandle_t handle,
                  Stream stream, const char* what) {
  ensure(plan != nullptr, "cuDNN has no engine for {}", what);
  check_dnn(cudnnSetStream(handle, static_cast<cudaStream_t>(stream)), "setting a stream");
  const auto count = static_cast<std::int64_t>(ids.size());
  DnnDescriptor operands(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  operands.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids.data());
  operands.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, data.data());
  operands.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  operands.finalize("naming the operands");
  check_dnn(cudnnBackendExecute(handle, plan->last().get(), operands.get()), what);
}

}  // namespace seamwright::model::cuda

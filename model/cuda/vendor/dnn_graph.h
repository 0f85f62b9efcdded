// Folder-private: cuDNN's graph interface in the few words that the backend needs: descriptors,
// engines with their notes, and the plan that is taken.
// Threads: one at a time per handle.
#pragma once

#include <cudnn.h>

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/cuda/calls.h"

namespace seamwright::model::cuda {

void check_dnn(cudnnStatus_t code, const char* what);
cudnnDataType_t to_dnn(DType type);

// Owns a descriptor of cuDNN's backend interface.
class DnnDescriptor {
 public:
  explicit DnnDescriptor(cudnnBackendDescriptorType_t type);
  ~DnnDescriptor();
  DnnDescriptor(DnnDescriptor&& other) noexcept : descriptor_(other.descriptor_) {
    other.descriptor_ = nullptr;
  }
  DnnDescriptor& operator=(DnnDescriptor&&) = delete;

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
           const void* values);
  void set(cudnnBackendAttributeName_t name, const DnnDescriptor& other);
  void set_type(cudnnBackendAttributeName_t name, cudnnDataType_t type) {
    set(name, CUDNN_TYPE_DATA_TYPE, 1, &type);
  }
  void finalize(const char* what);
  bool try_finalize();
  cudnnBackendDescriptor_t get() const { return descriptor_; }

 private:
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

// A tensor of a graph. kByValue: one number given by the host.
enum class DnnTensorKind { kMemory, kByValue };
DnnDescriptor dnn_tensor(std::int64_t id, DType type, std::span<const std::int64_t> dims,
                         std::span<const std::int64_t> strides,
                         DnnTensorKind kind = DnnTensorKind::kMemory);

// A graph under construction, or a plan. cuDNN does not say which descriptors it copies, so all
// that something was made of lives with it.
class DnnParts {
 public:
  ~DnnParts() {
    while (!parts_.empty()) parts_.pop_back();  // what was made of others goes first
  }
  DnnParts() = default;
  DnnParts(DnnParts&&) = default;
  DnnParts& operator=(DnnParts&&) = delete;
  // The number of the part, for at().
  std::size_t add(DnnDescriptor made) {
    parts_.push_back(std::move(made));
    return parts_.size() - 1;
  }
  const DnnDescriptor& at(std::size_t part) const { return parts_[part]; }
  const DnnDescriptor& last() const { return parts_.back(); }

 private:
  std::vector<DnnDescriptor> parts_;
};

// Appends a graph of these operations.
void add_graph(DnnParts& parts, std::span<const std::size_t> operations, cudnnHandle_t handle);

// What an engine must be: deterministic, in full precision for `type`, within the workspace, and
// ready to run unless it may be compiled first.
struct DnnRules {
  DType type = DType::kF32;
  bool may_compile = false;
  std::size_t workspace_bytes = 0;
};
using DnnPlan = std::shared_ptr<DnnParts>;  // last(): the plan; null: no engine

// The first engine within the rules that cuDNN's heuristics name for the graph that ends `parts`.
DnnPlan choose_plan(DnnParts&& parts, const DnnRules& rules, cudnnHandle_t handle);

// Every engine that the heuristics name for it, in their order, with its notes and workspace and
// whether it is taken: what to look at where an operation is slow.
std::vector<std::string> survey_engines(const DnnParts& parts, const DnnRules& rules,
                                        cudnnHandle_t handle);

void execute_plan(const DnnPlan& plan, std::span<const std::int64_t> ids,
                  std::span<const void* const> data, void* workspace, cudnnHandle_t handle,
                  Stream stream, const char* what);

}  // namespace seamwright::model::cuda

// Folder-private: cuDNN convolutions through its graph interface.
// Threads: one at a time.
#pragma once

#include <cudnn.h>

#include <memory>
#include <string>
#include <vector>

#include "model/cuda/bounded_cache.h"
#include "model/cuda/calls.h"

namespace seamwright::model::cuda {

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
  void finalize(const char* what);
  bool try_finalize();
  cudnnBackendDescriptor_t get() const { return descriptor_; }

 private:
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

// An engine chosen for one shape: the first that cuDNN's heuristic names among those that are
// deterministic, keep the precision, need no compilation and fit the workspace.
class Dnn {
 public:
  explicit Dnn(std::size_t workspace_bytes);
  ~Dnn();
  Dnn(const Dnn&) = delete;
  Dnn& operator=(const Dnn&) = delete;

  bool can_convolve(const Convolution& convolution) { return plan_for(convolution) != nullptr; }
  void convolve(const Convolution& convolution, const void* x, const void* w, void* y,
                void* workspace, Stream stream);
  static std::string version();
  // Every engine that the heuristics name for a shape, in their order, with its notes and workspace
  // and whether it is taken: what to look at where convolutions are slow.
  std::vector<std::string> survey(const Convolution& convolution);

 private:
  // cuDNN does not say which descriptors it copies, so all that a plan was made of lives with it.
  struct Made {
    std::vector<DnnDescriptor> parts;  // the last one is the plan
    ~Made() {
      while (!parts.empty()) parts.pop_back();  // what was made of others goes first
    }
    const DnnDescriptor& plan() const { return parts.back(); }
  };
  using Plan = std::shared_ptr<Made>;  // null: no engine
  const Plan& plan_for(const Convolution& convolution);
  Plan make_plan(const Convolution& convolution);
  bool add_plan(Made& made, cudnnBackendHeurMode_t mode, const Convolution& convolution);

  static constexpr std::size_t kPlans = 256;
  std::size_t workspace_bytes_;
  cudnnHandle_t handle_ = nullptr;
  BoundedCache<Convolution, Plan> plans_{kPlans};
};

}  // namespace seamwright::model::cuda

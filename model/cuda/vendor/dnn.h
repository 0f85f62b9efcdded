// Folder-private: cuDNN's convolutions and attention, planned once for each shape.
// Threads: one at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/cuda/bounded_cache.h"
#include "model/cuda/plan_cache.h"
#include "model/cuda/vendor/dnn_graph.h"

namespace seamwright::model::cuda {

// An engine chosen for one shape: the first that cuDNN's heuristics name within the rules
// (dnn_graph.h). Convolutions need no compilation; attention's engines may.
// Attention needs cuDNN 9.13.1.
class Dnn {
 public:
  // `device`: the calling thread's.
  Dnn(std::size_t workspace_bytes, int device);
  ~Dnn();
  Dnn(const Dnn&) = delete;
  Dnn& operator=(const Dnn&) = delete;

  bool can_convolve(const Convolution& convolution) { return plan_for(convolution) != nullptr; }
  void convolve(const Convolution& convolution, const void* x, const void* w, void* y,
                void* workspace, Stream stream);
  bool can_attend(const Attention& attention);
  void attend(const Attention& attention, const AttentionOperands& operands, void* workspace,
              Stream stream);
  // See CudaCalls.
  void plan_ahead(bool on) { attentions_.ahead(on); }
  static std::string version();

  // See survey_engines().
  std::vector<std::string> survey(const Convolution& convolution);
  std::vector<std::string> survey(const Attention& attention);

 private:
  const DnnPlan& plan_for(const Convolution& convolution);
  // A plan with the handle it was made with, which executes it.
  struct AttentionPlan {
    std::shared_ptr<cudnnContext> handle;
    DnnPlan plan;
  };
  static AttentionPlan make_plan(const Attention& attention, const DnnRules& rules, int device);
  DnnRules rules_for(const Convolution& c) const { return {c.type, false, workspace_bytes_}; }
  DnnRules rules_for(const Attention& a) const { return {a.type, true, workspace_bytes_}; }

  static constexpr std::size_t kPlans = 256;
  std::size_t workspace_bytes_;
  int device_;
  cudnnHandle_t handle_ = nullptr;
  BoundedCache<Convolution, DnnPlan> convolutions_{kPlans};
  PlanCache<Attention, AttentionPlan> attentions_{
      kPlans, [rules = DnnRules{DType::kF32, true, workspace_bytes_},
               device = device_](const Attention& a) mutable {
        rules.type = a.type;
        return make_plan(a, rules, device);
      }};
};

}  // namespace seamwright::model::cuda

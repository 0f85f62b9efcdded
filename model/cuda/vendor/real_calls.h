// Folder-private: the vendor calls on a real device.
// Threads: as CudaCalls, but multiply(), convolve() and attend() from one thread and on one stream
// at a time, since they share a workspace.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "model/cuda/bounded_cache.h"
#include "model/cuda/calls.h"
#include "model/cuda/vendor/dnn.h"

namespace seamwright::model::cuda {

void check_cuda(cudaError_t code, const char* call);
void check_cublas(cublasStatus_t code, const char* call);

// A cuBLASLt product with the algorithms its heuristic names, of
// which the first is taken until another is.
class ProductPlan {
 public:
  // `alignment`: bytes that all operands' addresses divide by.
  // `workspace` stands for operands that are not known yet.
  ProductPlan(cublasLtHandle_t handle, const Product& product, unsigned alignment,
              const void* workspace, std::size_t workspace_bytes);
  ~ProductPlan();
  ProductPlan(ProductPlan&& other) noexcept;
  ProductPlan& operator=(ProductPlan&&) = delete;

  void run(cublasLtHandle_t handle, const ProductOperands& operands, void* workspace,
           std::size_t workspace_bytes, cudaStream_t stream) const;
  std::size_t algorithms() const { return algorithms_.size(); }
  void take(std::size_t algorithm) { taken_ = algorithm; }
  // Whether somebody has chosen among the algorithms.
  bool settled = false;

 private:
  void describe(const Product& product, const void* placeholder);
  void list(cublasLtHandle_t handle, unsigned alignment, std::size_t workspace_bytes);

  float scale_ = 1, keep_ = 0;
  bool bias_ = false;
  std::string text_;
  cublasLtMatmulDesc_t work_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
  std::vector<cublasLtMatmulAlgo_t> algorithms_;
  std::size_t taken_ = 0;
};

class RealCalls final : public CudaCalls {
 public:
  explicit RealCalls(int device);
  ~RealCalls() override;

  std::string description() const override;
  void bind_thread() override;

  void* allocate_device(std::size_t bytes) override;
  void free_device(void* data) noexcept override;
  std::byte* allocate_pinned(std::size_t bytes) override;
  void free_pinned(std::byte* data) noexcept override;

  Stream create_stream() override;
  void destroy_stream(Stream stream) noexcept override;
  void wait_for_stream(Stream stream) override;
  Event create_event() override;
  void destroy_event(Event event) noexcept override;
  void record(Event event, Stream stream) override;
  void make_wait(Stream stream, Event event) override;
  void wait_for_event(Event event) override;

  void to_device(const std::byte* host, void* device, std::size_t bytes, Stream stream) override;
  void to_host(const void* device, std::byte* host, std::size_t bytes, Stream stream) override;
  void on_device(const void* from, void* to, std::size_t bytes, Stream stream) override;

  void begin_capture(Stream stream) override;
  Graph end_capture(Stream stream) override;
  void abandon_capture(Stream stream) noexcept override;
  void launch(Graph graph, Stream stream) override;
  void destroy_graph(Graph graph) noexcept override;

  void multiply(const Product& product, const ProductOperands& operands, Stream stream) override;
  bool can_convolve(const Convolution& convolution) override;
  void convolve(const Convolution& convolution, const void* x, const void* w, void* y,
                Stream stream) override;
  bool can_attend(const Attention& attention) override;
  void attend(const Attention& attention, const AttentionOperands& operands,
              Stream stream) override;
  void plan_ahead(bool on) override { dnn_.plan_ahead(on); }

 private:
  // Fixed, so that it never moves under a captured graph and never chooses an algorithm by what is
  // free.
  static constexpr std::size_t kWorkspaceBytes = std::size_t{128} << 20;
  static constexpr std::size_t kPlans = 1024;

  int device_;
  std::string name_;
  cublasLtHandle_t blas_ = nullptr;
  void* workspace_ = nullptr;
  BoundedCache<std::pair<Product, unsigned>, ProductPlan> products_{kPlans};
  Dnn dnn_;
};

}  // namespace seamwright::model::cuda

#include "model/cuda/vendor/product_trial.h"

#include <algorithm>
#include <limits>

#include "model/cuda/kernels.h"
#include "model/cuda/trial.h"

namespace seamwright::model::cuda {
namespace {

Element element_of(DType type) {
  return type == DType::kF32   ? Element::kF32
         : type == DType::kF16 ? Element::kHalf
                               : Element::kBf16;
}

// Device memory for a trial; null where the device has none left.
class Room {
 public:
  explicit Room(std::size_t bytes) {
    if (cudaMalloc(&data_, std::max<std::size_t>(bytes, 256)) != cudaSuccess) {
      (void)cudaGetLastError();
      data_ = nullptr;
    }
  }
  ~Room() {
    if (data_ != nullptr) (void)cudaFree(data_);
  }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  void* get() const { return data_; }

 private:
  void* data_ = nullptr;
};

class Watch {
 public:
  Watch() {
    check_cuda(cudaEventCreate(&begin_), "cudaEventCreate");
    check_cuda(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~Watch() {
    if (begin_ != nullptr) (void)cudaEventDestroy(begin_);
    if (end_ != nullptr) (void)cudaEventDestroy(end_);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  // Milliseconds of the quickest of a few rounds of body().
  template <class Body>
  float quickest(cudaStream_t stream, const Body& body) {
    constexpr int kRounds = 5, kTimes = 3;
    float least = std::numeric_limits<float>::max();
    for (int round = 0; round < kRounds; ++round) {
      check_cuda(cudaEventRecord(begin_, stream), "cudaEventRecord");
      for (int i = 0; i < kTimes; ++i) body();
      check_cuda(cudaEventRecord(end_, stream), "cudaEventRecord");
      check_cuda(cudaEventSynchronize(end_), "cudaEventSynchronize");
      float took = 0;
      check_cuda(cudaEventElapsedTime(&took, begin_, end_), "cudaEventElapsedTime");
      least = std::min(least, took);
    }
    return least;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

bool captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace

void settle_by_trial(ProductPlan& plan, const Product& p, cublasLtHandle_t handle, void* workspace,
                     std::size_t workspace_bytes, cudaStream_t stream) {
  if (captured(stream)) return;  // nothing may be waited for; there will be another time
  plan.settled = true;
  if (!worth_a_trial(p, plan.algorithms())) return;

  const std::int64_t results = p.rows * p.out;
  const auto size = static_cast<std::int64_t>(byte_size(p.type));
  const auto result_bytes =
      static_cast<std::size_t>(results) * static_cast<std::size_t>(byte_size(p.result_type));
  const auto bytes = [size](std::int64_t elements) {
    return static_cast<std::size_t>(elements * size);
  };
  const Room x(bytes(p.rows * p.in)), w(bytes(p.out * p.in)), bias(bytes(p.bias ? p.out : 0)),
      residual(bytes(p.residual ? results : 0)), first(result_bytes), other(result_bytes),
      differs(sizeof(std::int32_t));
  for (const Room* room : {&x, &w, &bias, &residual, &first, &other, &differs}) {
    if (room->get() == nullptr) return;
  }
  const Element element = element_of(p.type);
  std::uint32_t seed = 1;
  fill_with_numbers(element, x.get(), p.rows * p.in, seed++, stream);
  fill_with_numbers(element, w.get(), p.out * p.in, seed++, stream);
  if (p.bias) fill_with_numbers(element, bias.get(), p.out, seed++, stream);
  if (p.residual) fill_with_numbers(element, residual.get(), results, seed++, stream);

  const auto multiply_to = [&](void* y) {
    plan.run(
        handle,
        {x.get(), w.get(), p.bias ? bias.get() : nullptr, p.residual ? residual.get() : nullptr, y},
        workspace, workspace_bytes, stream);
  };
  const auto same_bits = [&](std::size_t algorithm) {
    plan.take(algorithm);
    multiply_to(other.get());
    std::int32_t found = 0;
    compare_bytes(first.get(), other.get(), static_cast<std::int64_t>(result_bytes),
                  static_cast<std::int32_t*>(differs.get()), stream);
    check_cuda(cudaMemcpyAsync(&found, differs.get(), sizeof found, cudaMemcpyDeviceToHost, stream),
               "cudaMemcpyAsync to the host");
    check_cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    return found == 0;
  };
  Watch watch;
  const auto time_of = [&](std::size_t algorithm) {
    plan.take(algorithm);
    void* y = algorithm == 0 ? first.get() : other.get();
    multiply_to(y);
    return watch.quickest(stream, [&] { multiply_to(y); });
  };
  plan.take(fastest_of_equals(plan.algorithms(), same_bits, time_of));
}

}  // namespace seamwright::model::cuda

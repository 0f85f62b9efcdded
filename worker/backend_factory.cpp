#include "base/error.h"
#include "model/cpu/cpu_backend.h"
#include "model/reference/reference.h"
#include "worker/generate.h"

namespace seamwright::worker {

std::unique_ptr<model::Backend> make_backend(const std::string& device,
                                             const std::string& precision, int threads) {
  if (device == "reference") {
    require(precision == "fp32", "device reference computes in double: leave precision at fp32");
    return model::make_reference_backend();
  }
  if (device == "cuda") {
    fail(ErrorCode::kUnsupported,
         "device cuda is not in this build; use device cpu, or build with -DSEAMWRIGHT_CUDA=ON");
  }
  if (precision == "fp16") {
    fail(ErrorCode::kUnsupported,
         "precision fp16 needs device cuda; on device cpu use fp32 or bf16");
  }
  return model::make_cpu_backend(precision == "bf16" ? model::DType::kBF16 : model::DType::kF32,
                                 threads);
}

}  // namespace seamwright::worker

#include "base/error.h"
#include "base/numerics.h"
#include "base/version.h"
#include "model/cpu/cpu_backend.h"
#include "model/cuda/cuda_backend.h"
#include "model/reference/reference.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

model::DType type_of(const std::string& precision) {
  if (precision == "fp16") return model::DType::kF16;
  return precision == "bf16" ? model::DType::kBF16 : model::DType::kF32;
}

}  // namespace

std::string numerics_of(const model::Backend& backend) {
  return fmt::format("{};revision={};seamwright={}", backend.fingerprint(), kNumericsRevision,
                     kVersion);
}

std::unique_ptr<model::Backend> make_backend(const std::string& device,
                                             const std::string& precision, int threads, int rank) {
  if (device == "reference") {
    require(precision == "fp32", "device reference computes in double: leave precision at fp32");
    return model::make_reference_backend();
  }
  if (device == "cuda" || device == "auto") {
    const auto count = static_cast<int>(model::cuda_devices().size());
    if (device == "cuda" || count > 0) {
      // Without a device, make_cuda_backend() says what is missing.
      return model::make_cuda_backend(
          {.activation = type_of(precision), .device = count > 0 ? rank % count : 0});
    }
  }
  if (precision == "fp16") {
    fail(ErrorCode::kUnsupported,
         "precision fp16 needs device cuda; on device cpu use fp32 or bf16");
  }
  return model::make_cpu_backend(type_of(precision), threads);
}

}  // namespace seamwright::worker

// Stands in for the CUDA backend in builds without it.
#include "model/cuda/cuda_backend.h"

namespace seamwright::model {

bool cuda_built_in() { return false; }
std::vector<CudaDevice> cuda_devices() { return {}; }
std::string cuda_versions() { return {}; }

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions&) {
  fail(ErrorCode::kUnsupported,
       "device cuda is not in this build; use device cpu, or build with -DSEAMWRIGHT_CUDA=ON");
}

}  // namespace seamwright::model

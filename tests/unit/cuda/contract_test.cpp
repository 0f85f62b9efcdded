// The CUDA backend keeps the op contract over the double, with its kernels on the emulated grid: all
// of it but the libraries and the chip.
#include "model/cuda/backend.h"
#include "model/cuda/kernels/emulated.h"
#include "tests/unit/cuda/fake_cuda.h"
#include "tests/unit/model/backend_contract.h"

namespace seamwright::model::testing_support {
namespace {

ContractParam emulated(const std::string& name, DType type, CudaConvolutions convolutions,
                       double tolerance) {
  return {name,
          [=] {
            return std::make_unique<cuda::CudaBackend>(
                std::make_shared<cuda::testing_support::FakeCuda>(),
                CudaOptions{type, 0, convolutions});
          },
          tolerance};
}

INSTANTIATE_TEST_SUITE_P(
    CudaEmulated, BackendContract,
    ::testing::Values(emulated("f32", DType::kF32, CudaConvolutions::kAuto, 1e-5),
                      emulated("bf16", DType::kBF16, CudaConvolutions::kAuto, 6e-3),
                      emulated("f16", DType::kF16, CudaConvolutions::kProducts, 1e-3)),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace seamwright::model::testing_support

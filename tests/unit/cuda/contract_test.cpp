// The CUDA backend keeps the op contract over the double, with its kernels on the emulated grid:
// all of it but the libraries and the chip.
#include "model/cuda/backend.h"
#include "model/cuda/kernels/emulated.h"
#include "tests/unit/cuda/fake_cuda.h"
#include "tests/unit/model/backend_contract.h"

namespace seamwright::model::testing_support {
namespace {

// `compile_small` leaves attention to the double of cuDNN.
ContractParam emulated(const std::string& name, DType type, CudaDnn dnn, double tolerance,
                       bool compile_small = false) {
  return {name,
          [=] {
            return std::make_unique<cuda::CudaBackend>(
                std::make_shared<cuda::testing_support::FakeCuda>(),
                CudaOptions{type, 0, dnn, compile_small});
          },
          tolerance, /*host_memory=*/true, /*geglu_factor=*/2};
}

INSTANTIATE_TEST_SUITE_P(CudaEmulated, BackendContract,
                         ::testing::Values(emulated("f32", DType::kF32, CudaDnn::kAuto, 1e-5),
                                           emulated("bf16", DType::kBF16, CudaDnn::kAuto, 6e-3),
                                           emulated("bf16_compiled", DType::kBF16, CudaDnn::kAuto,
                                                    6e-3, true),
                                           emulated("f16", DType::kF16, CudaDnn::kNever, 1e-3)),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace seamwright::model::testing_support

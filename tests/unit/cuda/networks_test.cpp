// Whole tiny checkpoints on the CUDA backend over the double: fixtures of the models' own library.
#include "model/cuda/backend.h"
#include "tests/unit/cuda/fake_cuda.h"
#include "tests/unit/model/network_parity.h"

namespace seamwright::model::testing_support {
namespace {

ContractParam emulated(const std::string& name, DType type, double tolerance) {
  return {name,
          [=] {
            return std::make_unique<cuda::CudaBackend>(
                std::make_shared<cuda::testing_support::FakeCuda>(), CudaOptions{type});
          },
          tolerance};
}

// One checkpoint of each kind: the emulated grid takes seconds for each.
INSTANTIATE_TEST_SUITE_P(CudaEmulated, NetworkParity,
                         ::testing::Combine(::testing::Values(emulated("f32", DType::kF32, 1e-4),
                                                              emulated("bf16", DType::kBF16, 3e-2)),
                                            ::testing::Values("unetmotion3", "unet2d_adapter_v2")),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" + std::get<1>(info.param);
                         });

}  // namespace
}  // namespace seamwright::model::testing_support

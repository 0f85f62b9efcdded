// The CUDA backend on a real GPU; on a host without one each case skips visibly. (tests/unit/cuda
// runs the same backend over a double, without a GPU.)
#include "model/cuda/cuda_backend.h"
#include "tests/unit/model/backend_contract.h"
#include "tests/unit/model/network_parity.h"

namespace seamwright::model::testing_support {
namespace {

// `compile_small` leaves attention to cuDNN wherever it has an engine.
ContractParam on_gpu(const std::string& name, DType type, CudaDnn dnn, double tolerance,
                     bool compile_small = false) {
  ContractParam param{name,
                      [=] {
                        return make_cuda_backend({type, 0, dnn, compile_small});
                      },
                      tolerance,
                      /*host_memory=*/false, /*geglu_factor=*/2};
  param.missing = [] {
    return cuda_devices().empty() ? std::string("this host has no CUDA device") : std::string();
  };
  return param;
}

const std::vector<ContractParam>& params() {
  static const std::vector<ContractParam> all{
      on_gpu("f32", DType::kF32, CudaDnn::kAuto, 1e-5),
      on_gpu("f32_products", DType::kF32, CudaDnn::kNever, 1e-5),
      on_gpu("bf16", DType::kBF16, CudaDnn::kAuto, 6e-3),
      on_gpu("bf16_products", DType::kBF16, CudaDnn::kNever, 6e-3),
      on_gpu("f16", DType::kF16, CudaDnn::kAuto, 1e-3),
      on_gpu("bf16_compiled", DType::kBF16, CudaDnn::kAuto, 6e-3, true),
      on_gpu("f16_compiled", DType::kF16, CudaDnn::kAuto, 1e-3, true)};
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cuda, BackendContract, ::testing::ValuesIn(params()),
                         [](const auto& info) { return info.param.name; });

ContractParam with_tolerance(ContractParam param, double tolerance) {
  param.tolerance = tolerance;
  return param;
}

INSTANTIATE_TEST_SUITE_P(Cuda, NetworkParity,
                         ::testing::Combine(::testing::Values(with_tolerance(params()[0], 1e-4),
                                                              with_tolerance(params()[2], 3e-2),
                                                              with_tolerance(params()[4], 1e-2),
                                                              with_tolerance(params()[5], 3e-2)),
                                            ::testing::ValuesIn(parity_checkpoints())),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" + std::get<1>(info.param);
                         });

}  // namespace
}  // namespace seamwright::model::testing_support

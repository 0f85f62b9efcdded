// The CPU backend keeps the op contract: in fp32, in bf16, and with the kernels of each
// instruction set this machine can run.
#include "model/cpu/backend.h"
#include "model/cpu/cpu_backend.h"
#include "tests/unit/model/backend_contract.h"

namespace seamwright::model::testing_support {
namespace {

ContractParam with_isa(const std::string& name, DType type, cpu::Isa isa, double tolerance) {
  return {name, [=] { return std::make_unique<cpu::CpuBackend>(type, 1, isa); }, tolerance};
}

std::vector<ContractParam> params() {
  std::vector<ContractParam> all = {
      {"f32", [] { return make_cpu_backend(DType::kF32, 1); }, 1e-5},
      {"bf16", [] { return make_cpu_backend(DType::kBF16, 1); }, 6e-3}};
  if (cpu::detect_isa() > cpu::Isa::kAvx2) {
    all.push_back(with_isa("f32_avx2", DType::kF32, cpu::Isa::kAvx2, 1e-5));
    all.push_back(with_isa("bf16_avx2", DType::kBF16, cpu::Isa::kAvx2, 6e-3));
  }
  if (cpu::detect_isa() == cpu::Isa::kAmx) {  // without the tile unit
    all.push_back(with_isa("bf16_avx512", DType::kBF16, cpu::Isa::kAvx512Bf16, 6e-3));
  }
  return all;
}

std::string name_of(const ::testing::TestParamInfo<ContractParam>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Cpu, BackendContract, ::testing::ValuesIn(params()), name_of);

}  // namespace
}  // namespace seamwright::model::testing_support

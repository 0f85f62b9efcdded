// The CPU backend on whole networks, every block of every tiny checkpoint within stated tolerances.
#include "model/cpu/cpu_backend.h"
#include "tests/unit/model/network_parity.h"

namespace seamwright::model::testing_support {
namespace {

const auto kName = [](const auto& info) { return std::get<1>(info.param); };

INSTANTIATE_TEST_SUITE_P(
    CpuFp32, NetworkParity,
    ::testing::Combine(::testing::Values(ContractParam{
                           "fp32", [] { return make_cpu_backend(DType::kF32, 2); }, 5e-6}),
                       ::testing::ValuesIn(parity_checkpoints())),
    kName);

INSTANTIATE_TEST_SUITE_P(
    CpuBf16, NetworkParity,
    ::testing::Combine(::testing::Values(ContractParam{
                           "bf16", [] { return make_cpu_backend(DType::kBF16, 2); }, 3e-2}),
                       ::testing::ValuesIn(parity_checkpoints())),
    kName);

}  // namespace
}  // namespace seamwright::model::testing_support

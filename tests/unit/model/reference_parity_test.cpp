// The reference backend on whole networks, every block of every tiny checkpoint.
#include "model/reference/reference.h"
#include "tests/unit/model/network_parity.h"

namespace seamwright::model::testing_support {
namespace {

INSTANTIATE_TEST_SUITE_P(Reference, NetworkParity,
                         ::testing::Combine(::testing::Values(ContractParam{
                                                "reference", make_reference_backend, 1e-6}),
                                            ::testing::ValuesIn(parity_checkpoints())),
                         [](const auto& info) { return std::get<1>(info.param); });

}  // namespace
}  // namespace seamwright::model::testing_support

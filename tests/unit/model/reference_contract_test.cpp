// The reference passes its own contract: what is checked here is that no case reads memory it has
// not written, writes past its result, or throws. Its numbers are checked in reference_test.cpp.
#include "model/reference/reference.h"
#include "tests/unit/model/backend_contract.h"

namespace seamwright::model::testing_support {

INSTANTIATE_TEST_SUITE_P(Reference, BackendContract,
                         ::testing::Values(ContractParam{"reference", make_reference_backend,
                                                         1e-14}));

}  // namespace seamwright::model::testing_support

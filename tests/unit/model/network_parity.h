// Networks loaded from the tiny checkpoints against diffusers and transformers, block by block, on
// any backend: join with INSTANTIATE_TEST_SUITE_P(Name, NetworkParity, testing::Combine(
// testing::Values(param), testing::ValuesIn(parity_checkpoints()))).
// Threads: each case makes its own backend.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "tests/unit/model/backend_contract.h"

namespace seamwright::model::testing_support {

inline std::vector<std::string> parity_checkpoints() {
  return {"unetmotion3", "unet2d_adapter_v2", "unet2d_adapter_v3", "fp16", "sharded"};
}

// ContractParam::tolerance bounds the relative RMS error of every block and output.
class NetworkParity : public ::testing::TestWithParam<std::tuple<ContractParam, std::string>> {
 protected:
  void SetUp() override {
    if (const auto why = std::get<0>(GetParam()).missing(); !why.empty()) GTEST_SKIP() << why;
  }
};

}  // namespace seamwright::model::testing_support

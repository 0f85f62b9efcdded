// The contract every Backend is tested against: the cases are in backend_contract_test.cpp, and a
// backend joins with one INSTANTIATE_TEST_SUITE_P(Name, BackendContract, testing::Values(...)).
// Threads: each case makes its own backends.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/ops.h"

namespace seamwright::model::testing_support {

struct ContractParam {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;
  // Allowed RMS error relative to the RMS of the reference's result; single elements may be off
  // by ten times as much.
  double tolerance = 1e-5;
  // Backend memory is ordinary host memory, so guards and NaN filling can watch it.
  bool host_memory = true;
  // A GEGLU's tolerance beside it: more where value and gate are rounded before they meet, as
  // diffusers rounds them.
  double geglu_factor = 1;
  // Why it cannot run here; empty: it can. Cases then skip.
  std::function<std::string()> missing = [] { return std::string(); };
};

// Hands out memory filled with NaN bytes, and notices writes past the end of an allocation.
class GuardedAllocator final : public Allocator {
 public:
  void* allocate(std::size_t bytes) override;
  void release(void* data, std::size_t bytes) noexcept override;
  bool intact() const { return intact_; }

 private:
  bool intact_ = true;
};

// One backend with inputs drawn from a stream that is the same for every rig.
class Rig {
 public:
  Rig(Backend& backend, Allocator& memory, DType rounding)
      : exec{backend, memory}, rounding_(rounding) {}

  Exec exec;
  // Normal values times scale plus offset, rounded to what the tested backend can hold.
  Tensor activation(const Shape& shape, double scale = 1, double offset = 0);
  std::unique_ptr<PreparedConv> conv(const ConvSpec& spec, bool bias = true);
  std::unique_ptr<PreparedLinear> linear(std::int64_t in, std::int64_t out, bool bias = true);
  std::unique_ptr<PreparedLinear> geglu(std::int64_t in, std::int64_t inner);
  std::unique_ptr<PreparedNorm> norm(std::int64_t channels, double eps = 1e-5);

 private:
  Tensor host(const Shape& shape, double scale, double offset);
  DType rounding_;
  std::int64_t drawn_ = 0;
};

using Case = std::function<Tensor(Rig&)>;

class BackendContract : public ::testing::TestWithParam<ContractParam> {
 protected:
  void SetUp() override {
    if (const auto why = GetParam().missing(); !why.empty()) GTEST_SKIP() << why;
  }
  // Runs the case on the reference and on the tested backend with one and with three threads:
  // the result must be close to the reference's, and not depend on the threads by a single bit.
  void check(const std::string& what, const Case& run, double tolerance_factor = 1);
};

// A device tensor's values as doubles on the host.
std::vector<double> values_of(Backend& backend, ConstView device);

}  // namespace seamwright::model::testing_support

// The sampled checks themselves, on the CPU backend at small sizes: they pass where the op is
// right, and see an op that is wrong.
#include "tests/unit/model/sampled_ops.h"

#include <gtest/gtest.h>

#include "model/cpu/cpu_backend.h"

namespace seamwright::model::testing_support {
namespace {

void expect_right(const Sampled& s, double tolerance = 1e-5) {
  EXPECT_TRUE(s.finite);
  EXPECT_LE(s.relative_rms, tolerance);
  EXPECT_LE(s.worst, 10 * tolerance);
}

TEST(SampledOps, AgreeWithTheCpuBackend) {
  const auto backend = make_cpu_backend(DType::kF32, 1);
  expect_right(sample_conv(*backend, ConvSpec::same(16, 24, 3), {2, 9, 8, 16}, true));
  expect_right(sample_conv(*backend, ConvSpec{16, 16, 3, 2, 0, 0, 1, 1}, {2, 9, 8, 16}, false));
  expect_right(sample_linear(*backend, 50, 40, 24, true));
  expect_right(sample_geglu(*backend, 50, 40, 24));
  expect_right(sample_group_norm(*backend, {3, 5, 4, 32}, 8, NormExtent::kPerFrame));
  expect_right(sample_group_norm(*backend, {3, 5, 4, 32}, 8, NormExtent::kAcrossFrames));
  expect_right(sample_layer_norm(*backend, 30, 40));
  expect_right(sample_attention(*backend, 2, 30, 20, 2, 4, 8));
  expect_right(sample_attention(*backend, 2, 30, 20, 1, 4, 8));
  expect_right(sample_temporal(*backend, 5, 7, 4, 8));
}

// bf16 is not right to fp32's tolerance: the checks must say so.
TEST(SampledOps, SeeALossOfPrecision) {
  const auto backend = make_cpu_backend(DType::kBF16, 1);
  EXPECT_GT(sample_linear(*backend, 50, 40, 24, true).relative_rms, 1e-4);
  EXPECT_GT(sample_layer_norm(*backend, 30, 40).relative_rms, 1e-4);
  EXPECT_LT(sample_linear(*backend, 50, 40, 24, true).relative_rms, 1e-2);
}

}  // namespace
}  // namespace seamwright::model::testing_support

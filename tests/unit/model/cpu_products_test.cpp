// Products of few rows and many columns on the CPU backend: shared out between threads by columns,
// with one result.
#include <gtest/gtest.h>

#include <vector>

#include "model/cpu/cpu_backend.h"
#include "model/cpu/panel_groups.h"
#include "tests/unit/model/sampled_ops.h"

namespace seamwright::model::testing_support {
namespace {

using cpu::PanelGroups;

TEST(PanelGroups, HoldEveryPanelOnce) {
  for (std::int64_t panels : {1, 2, 5, 12, 20, 48, 160}) {
    for (std::int64_t row_chunks : {1, 2, 3, 7, 40}) {
      for (int threads : {1, 2, 3, 8, 64}) {
        const PanelGroups groups(panels, row_chunks, threads, 16);
        std::int64_t next = 0;
        for (std::int64_t g = 0; g < groups.count; ++g) {
          EXPECT_EQ(groups.begin(g), next);
          EXPECT_GT(groups.end(g), next);
          EXPECT_LE(groups.end(g) - next, 16);
          next = groups.end(g);
        }
        EXPECT_EQ(next, panels) << row_chunks << " blocks of rows, " << threads << " threads";
      }
    }
  }
}

TEST(PanelGroups, KeepAllThreadsBusyWithOneBlockOfRows) {
  for (int threads : {1, 2, 3, 4, 6, 12}) {
    const PanelGroups groups(12, 1, threads, 16);
    EXPECT_EQ(groups.count, threads);
    EXPECT_EQ(groups.per_group, 12 / threads);
  }
}

struct Sizes {
  std::int64_t rows, in, out;
};

std::vector<float> product(const Sizes& sizes, int threads) {
  const auto backend = make_cpu_backend(DType::kF32, threads);
  const auto filled = [](const Shape& shape, std::uint64_t seed) {
    Tensor t(heap(), DType::kF32, shape);
    std::uint64_t state = seed;
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      t.view().as<float>()[i] = static_cast<float>(state >> 40) / 8388608.0F - 1.0F;
    }
    return t;
  };
  const Tensor weight = filled({sizes.out, sizes.in}, 1), bias = filled({sizes.out}, 2);
  const Tensor x = filled({sizes.rows, sizes.in}, 3), residual = filled({sizes.rows, sizes.out}, 4);
  const auto prepared = backend->prepare_linear(weight, bias);
  Tensor y(heap(), DType::kF32, {sizes.rows, sizes.out});
  backend->linear(*prepared, x, {.residual = residual}, y, heap());
  const auto* data = y.view().as<float>();
  return {data, data + y.shape().elements()};
}

// A text encoder's products: 768 columns are twelve panels, a depth of 3072 is summed in parts.
TEST(CpuProducts, OfFewRowsAreRight) {
  const auto backend = make_cpu_backend(DType::kF32, 2);
  for (const Sizes& s : {Sizes{77, 768, 768}, {77, 3072, 768}, {77, 768, 3072}, {5, 1300, 200}}) {
    const Sampled sampled = sample_linear(*backend, s.rows, s.in, s.out, true);
    EXPECT_TRUE(sampled.finite);
    EXPECT_LE(sampled.relative_rms, 1e-5) << s.rows << " x " << s.in << " x " << s.out;
  }
}

TEST(CpuProducts, OfFewRowsDoNotDependOnTheNumberOfThreads) {
  for (const Sizes& s : {Sizes{77, 768, 768}, {77, 3072, 768}, {300, 1300, 600}}) {
    const auto one = product(s, 1);
    for (int threads : {2, 3, 5}) {
      EXPECT_EQ(product(s, threads), one) << s.in << " deep, " << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace seamwright::model::testing_support

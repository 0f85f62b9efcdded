#include "base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace seamwright {
namespace {

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10 rounds).
TEST(Philox, MatchesPublishedKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t f = 0xffffffffU;
  EXPECT_EQ(philox4x32({f, f, f, f}, {f, f}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(FillNormal, HasUnitVarianceAndZeroMean) {
  std::vector<float> values(200000);
  fill_normal({.seed = 7, .purpose = NoisePurpose::kTest}, values);
  double sum = 0, square = 0;
  for (float v : values) sum += v, square += static_cast<double>(v) * v;
  const double n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, 0.0, 0.01);
  EXPECT_NEAR(square / n, 1.0, 0.01);
}

TEST(FillNormal, PrefixDoesNotDependOnLength) {
  const NoiseKey key{.seed = 3, .purpose = NoisePurpose::kInitial, .frame = 12};
  std::vector<float> whole(103), part(50);
  fill_normal(key, whole);
  fill_normal(key, part);
  for (std::size_t i = 0; i < part.size(); ++i) EXPECT_EQ(part[i], whole[i]) << i;
}

TEST(FillNormal, EveryPartOfTheKeyChangesTheStream) {
  const NoiseKey base{.seed = 1, .purpose = NoisePurpose::kInitial, .frame = 2, .evaluation = 3};
  const auto first = [](NoiseKey key) {
    std::vector<float> v(4);
    fill_normal(key, v);
    return v;
  };
  const auto reference = first(base);
  NoiseKey changed = base;
  changed.seed = 1ULL << 40 | 1;
  EXPECT_NE(first(changed), reference);
  changed = base, changed.purpose = NoisePurpose::kSampler;
  EXPECT_NE(first(changed), reference);
  changed = base, changed.frame = 2 + (1LL << 32);
  EXPECT_NE(first(changed), reference);
  changed = base, changed.evaluation = 4;
  EXPECT_NE(first(changed), reference);
}

}  // namespace
}  // namespace seamwright

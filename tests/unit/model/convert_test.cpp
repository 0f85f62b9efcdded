#include "model/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace seamwright::model {
namespace {

TEST(Convert, EveryHalfSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = half_to_float(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value))));
    } else {
      ASSERT_EQ(float_to_half(value), bits) << value;
    }
  }
}

TEST(Convert, HalvesHaveTheirIeeeValues) {
  EXPECT_EQ(half_to_float(0x3c00), 1.0F);
  EXPECT_EQ(half_to_float(0xc500), -5.0F);
  EXPECT_EQ(half_to_float(0x0001), 0x1p-24F);
  EXPECT_EQ(half_to_float(0x7bff), 65504.0F);
  EXPECT_EQ(half_to_float(0x7c00), std::numeric_limits<float>::infinity());
}

TEST(Convert, RoundsToNearestEven) {
  EXPECT_EQ(float_to_half(1.0F + 0x1p-11F), 0x3c00);      // tie: down to even
  EXPECT_EQ(float_to_half(1.0F + 3 * 0x1p-11F), 0x3c02);  // tie: up to even
  EXPECT_EQ(float_to_half(65520.0F), 0x7c00);             // overflows
  EXPECT_EQ(float_to_half(65519.0F), 0x7bff);
  EXPECT_EQ(float_to_half(0x1p-25F), 0);  // tie with zero
  EXPECT_EQ(float_to_half(0x1.8p-25F), 1);
  EXPECT_EQ(float_to_bf16(1.0F + 0x1p-8F), 0x3f80);
  EXPECT_EQ(float_to_bf16(1.0F + 3 * 0x1p-8F), 0x3f82);
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::nanf("")))));
}

TEST(Convert, RefusesIntegers) {
  const Tensor ids(heap(), DType::kI64, {2});
  EXPECT_THROW(converted(ids, DType::kF32), Error);
}

}  // namespace
}  // namespace seamwright::model

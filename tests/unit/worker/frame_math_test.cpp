#include "worker/frame_math.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace seamwright::worker {
namespace {

using ::testing::ElementsAre;

TEST(Guide, ExtrapolatesFromUnconditionalToConditional) {
  const std::vector<float> u = {1, 2}, c = {2, 0};
  std::vector<float> out(2);
  guide(u, c, 3.0F, out);
  EXPECT_THAT(out, ElementsAre(4.0F, -4.0F));
}

TEST(Fuse, OneTermOfWeightOneIsTheTermItself) {
  const std::vector<float> a = {0.1F, -3.7F, 1e-30F};
  std::vector<float> out(3);
  const WeightedPrediction terms[] = {{a, 1.0F}};
  fuse(terms, out);
  EXPECT_EQ(out, a);
}

TEST(Fuse, SumsInTheOrderGiven) {
  // 1e8 + 1 - 1e8 in fp32 depends on the order: the left-to-right sum loses the 1.
  const std::vector<float> big = {1e8F}, one = {1.0F}, minus = {-1e8F};
  std::vector<float> out(1);
  const WeightedPrediction left[] = {{big, 1.0F}, {one, 1.0F}, {minus, 1.0F}};
  fuse(left, out);
  EXPECT_EQ(out[0], 0.0F);
  const WeightedPrediction right[] = {{big, 1.0F}, {minus, 1.0F}, {one, 1.0F}};
  fuse(right, out);
  EXPECT_EQ(out[0], 1.0F);
}

TEST(Fuse, RefusesNoTermsAndUnequalSizes) {
  std::vector<float> out(2);
  EXPECT_THROW(fuse({}, out), Error);
  const std::vector<float> shorter = {1};
  const WeightedPrediction terms[] = {{shorter, 1.0F}};
  EXPECT_THROW(fuse(terms, out), Error);
}

TEST(Layout, PlanesToRowsAndBack) {
  const std::vector<float> planes = {1, 2, 3, 10, 20, 30};  // [2, 1, 3]
  std::vector<float> rows(6), back(6);
  planes_to_rows(planes, 2, rows);
  EXPECT_THAT(rows, ElementsAre(1, 10, 2, 20, 3, 30));
  rows_to_planes(rows, 2, back);
  EXPECT_EQ(back, planes);
}

}  // namespace
}  // namespace seamwright::worker

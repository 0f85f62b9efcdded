// The reference backend against values worked out by hand or by closed form.
#include "model/reference/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/unit/model/backend_contract.h"

namespace seamwright::model {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;
using testing_support::values_of;

class Reference : public ::testing::Test {
 protected:
  Tensor tensor(const Shape& shape, std::vector<double> values) {
    Tensor t(heap(), DType::kF64, shape);
    EXPECT_EQ(static_cast<std::int64_t>(values.size()), shape.elements());
    std::copy(values.begin(), values.end(), t.view().as<double>());
    return t;
  }
  Tensor counting(const Shape& shape) {
    std::vector<double> values(static_cast<std::size_t>(shape.elements()));
    std::iota(values.begin(), values.end(), 1.0);
    return tensor(shape, values);
  }
  std::vector<double> read(const Tensor& t) { return values_of(*backend_, t); }

  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Exec exec_{*backend_, heap()};
};

TEST_F(Reference, ConvolvesABoxOfOnes) {
  // A 3x3 box filter over 1..9 with zero padding: sums of the neighbourhoods.
  const Tensor w = tensor({1, 1, 3, 3}, std::vector<double>(9, 1.0));
  const Tensor b = tensor({1}, {0.5});
  const auto conv = backend_->prepare_conv(ConvSpec::same(1, 1, 3), w, b);
  EXPECT_THAT(read(ops::conv2d(exec_, *conv, counting({1, 3, 3, 1}))),
              ElementsAre(12.5, 21.5, 16.5, 27.5, 45.5, 33.5, 24.5, 39.5, 28.5));
}

TEST_F(Reference, StridedConvolutionPadsWhereItIsTold) {
  // The kernel picks its top-left tap, so the result shows where windows start.
  std::vector<double> taps(9, 0.0);
  taps[0] = 1;
  const Tensor w = tensor({1, 1, 3, 3}, taps);
  const Tensor x = counting({1, 4, 4, 1});
  const auto symmetric = backend_->prepare_conv({1, 1, 3, 2, 1, 1, 1, 1}, w, {});
  EXPECT_THAT(read(ops::conv2d(exec_, *symmetric, x)), ElementsAre(0, 0, 0, 6));
  const auto right_bottom = backend_->prepare_conv({1, 1, 3, 2, 0, 0, 1, 1}, w, {});
  EXPECT_THAT(read(ops::conv2d(exec_, *right_bottom, x)), ElementsAre(1, 3, 9, 11));
}

TEST_F(Reference, LinearKeepsDiffusersLayoutAndEpilogueOrder) {
  const Tensor w = tensor({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor b = tensor({2}, {10, -100});
  const auto linear = backend_->prepare_linear(w, b);
  const Tensor x = tensor({1, 3}, {1, 1, 2});
  EXPECT_THAT(read(ops::linear(exec_, *linear, x)), ElementsAre(19, -79));
  const Tensor add = tensor({2}, {1, 1}), residual = tensor({1, 2}, {-50, 5});
  EXPECT_THAT(read(ops::linear(exec_, *linear, x,
                               {.per_channel = add,
                                .activation = Activation::kRelu,
                                .residual = residual,
                                .last = Activation::kRelu})),
              ElementsAre(0, 5));
}

TEST_F(Reference, GegluIsValueTimesGeluOfGate) {
  const Tensor w = tensor({2, 1}, {3, 1}), b = tensor({2}, {0, 0});
  const auto linear = backend_->prepare_geglu(w, b);
  const double gelu1 = 0.5 * (1 + std::erf(1 / std::sqrt(2.0)));
  EXPECT_THAT(read(ops::geglu(exec_, *linear, tensor({1, 1}, {1}))),
              Pointwise(DoubleNear(1e-15), {3 * gelu1}));
}

TEST_F(Reference, GroupNormTakesStatisticsPerFrameOrAcrossFrames) {
  const auto norm = backend_->prepare_norm(tensor({2}, {1, 2}), tensor({2}, {0, 1}), 0);
  const Tensor x = tensor({2, 1, 1, 2}, {1, 3, 5, 7});
  EXPECT_THAT(read(ops::group_norm(exec_, *norm, 1, NormExtent::kPerFrame, Activation::kNone, x)),
              Pointwise(DoubleNear(1e-12), {-1.0, 3.0, -1.0, 3.0}));
  const double s = std::sqrt(5.0);  // of 1, 3, 5, 7: mean 4, variance 5
  EXPECT_THAT(
      read(ops::group_norm(exec_, *norm, 1, NormExtent::kAcrossFrames, Activation::kNone, x)),
      Pointwise(DoubleNear(1e-12), {-3 / s, -2 / s + 1, 1 / s, 6 / s + 1}));
}

TEST_F(Reference, LayerNormAddsEpsilonInsideTheRoot) {
  const auto norm = backend_->prepare_norm(tensor({2}, {1, 1}), tensor({2}, {0, 0}), 3);
  EXPECT_THAT(
      read(ops::layer_norm(exec_, *norm, tensor({1, 1, 2}, {-1, 1}), tensor({1, 2}, {10, 20}))),
      Pointwise(DoubleNear(1e-12), {9.5, 20.5}));
}

TEST_F(Reference, AttentionWeighsValuesBySoftmax) {
  const double big = std::log(3.0);  // two keys with scores ln 3 and 0: weights 3/4 and 1/4
  const Tensor q = tensor({1, 1, 1}, {1}), k = tensor({1, 2, 1}, {big, 0});
  EXPECT_THAT(read(ops::attention(exec_, 1, false, q, k, tensor({1, 2, 1}, {8, 4}))),
              Pointwise(DoubleNear(1e-12), {7.0}));
}

TEST_F(Reference, AttentionScalesByTheRootOfTheHeadSize) {
  const double score = 2 * std::log(3.0);  // head size 4: halved
  const Tensor q = tensor({1, 1, 4}, {1, 0, 0, 0});
  const Tensor k = tensor({1, 2, 4}, {score, 9, 9, 9, 0, 9, 9, 9});
  const Tensor v = tensor({1, 2, 4}, {8, 0, 0, 0, 4, 0, 0, 0});
  EXPECT_THAT(read(ops::attention(exec_, 1, false, q, k, v)),
              Pointwise(DoubleNear(1e-12), {7.0, 0.0, 0.0, 0.0}));
}

TEST_F(Reference, CausalAttentionOfEqualScoresAveragesThePast) {
  const Tensor zero = tensor({1, 3, 1}, {0, 0, 0});
  EXPECT_THAT(read(ops::attention(exec_, 1, true, zero, zero, tensor({1, 3, 1}, {3, 5, 10}))),
              Pointwise(DoubleNear(1e-12), {3.0, 4.0, 6.0}));
}

TEST_F(Reference, TemporalAttentionMixesFramesOfOnePositionOnly) {
  const Tensor zero = tensor({2, 2, 1}, {0, 0, 0, 0});
  EXPECT_THAT(read(ops::temporal_attention(exec_, 1, zero, zero, tensor({2, 2, 1}, {1, 2, 5, 8}))),
              Pointwise(DoubleNear(1e-12), {3.0, 5.0, 3.0, 5.0}));
}

TEST_F(Reference, ActivationsHaveTheirTextbookValues) {
  const Tensor x = tensor({3}, {-1, 0, 2});
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  EXPECT_THAT(read(ops::activate(exec_, Activation::kSilu, x)),
              Pointwise(DoubleNear(1e-15), {-sigmoid(-1), 0.0, 2 * sigmoid(2)}));
  EXPECT_THAT(read(ops::activate(exec_, Activation::kRelu, x)), ElementsAre(0, 0, 2));
  EXPECT_THAT(read(ops::activate(exec_, Activation::kQuickGelu, x)),
              Pointwise(DoubleNear(1e-15), {-sigmoid(-1.702), 0.0, 2 * sigmoid(3.404)}));
  EXPECT_THAT(read(ops::activate(exec_, Activation::kGelu, x)),
              Pointwise(DoubleNear(1e-9), {-0.158655254, 0.0, 1.954499736}));
}

TEST_F(Reference, UpsamplesByFloorOfTheRatio) {
  const Tensor x = counting({1, 1, 2, 1});
  EXPECT_THAT(read(ops::upsample_nearest(exec_, x, 1, 3)), ElementsAre(1, 1, 2));
  EXPECT_THAT(read(ops::upsample_nearest(exec_, x, 2, 4)), ElementsAre(1, 1, 2, 2, 1, 1, 2, 2));
}

TEST_F(Reference, SoftClampAffineConcatAndGather) {
  EXPECT_THAT(read(ops::soft_clamp(exec_, 3, tensor({2}, {0, 100}))),
              Pointwise(DoubleNear(1e-12), {0.0, 3.0}));
  EXPECT_THAT(read(ops::affine(exec_, 2, -1, tensor({2}, {0, 1}))), ElementsAre(-1, 1));
  EXPECT_THAT(
      read(ops::concat_channels(exec_, tensor({2, 1}, {1, 2}), tensor({2, 2}, {3, 4, 5, 6}))),
      ElementsAre(1, 3, 4, 2, 5, 6));
  const std::vector<std::int32_t> ids = {1, 1, 0};
  EXPECT_THAT(read(ops::gather_rows(exec_, tensor({2, 1}, {7, 9}), ids)), ElementsAre(9, 9, 7));
}

TEST_F(Reference, OpsRefuseShapesThatDoNotFit) {
  const auto conv = backend_->prepare_conv(ConvSpec::same(2, 2, 3), counting({2, 2, 3, 3}), {});
  EXPECT_THROW(ops::conv2d(exec_, *conv, counting({1, 3, 3, 1})), Error);
  EXPECT_THROW(ops::conv2d(exec_, *conv, counting({3, 3, 2})), Error);
  const Tensor wrong = counting({1, 3, 3, 3});
  EXPECT_THROW(ops::conv2d(exec_, *conv, counting({1, 3, 3, 2}), {.residual = wrong}), Error);
  EXPECT_THROW(ops::attention(exec_, 3, false, counting({1, 2, 4}), counting({1, 2, 4}),
                              counting({1, 2, 4})),
               Error);
  EXPECT_THROW(ops::attention(exec_, 1, false, counting({3, 2, 4}), counting({2, 2, 4}),
                              counting({2, 2, 4})),
               Error);
  const std::vector<std::int32_t> ids = {2};
  EXPECT_THROW(ops::gather_rows(exec_, counting({2, 1}), ids), Error);
  const Tensor single(heap(), DType::kF32, {4});
  EXPECT_THROW(ops::activate(exec_, Activation::kRelu, single), Error);
}

}  // namespace
}  // namespace seamwright::model

#include "scheduling/fusion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "scheduling/freenoise.h"

namespace seamwright::scheduling {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::Pointwise;

std::vector<Window> windows(int frames, int length, int overlap) {
  WindowRequest r;
  r.frames = frames;
  r.window = length;
  r.overlap = overlap;
  return windows_at_step(r, 0);
}

TEST(FusionWeights, PyramidRisesToTheMiddle) {
  const Window even{0, {0, 1, 2, 3, 4, 5}};
  EXPECT_THAT(fusion_weights(FusionKind::kPyramid, even, 2, 20), ElementsAre(1, 2, 3, 3, 2, 1));
  const Window odd{0, {0, 1, 2, 3, 4}};
  EXPECT_THAT(fusion_weights(FusionKind::kPyramid, odd, 2, 20), ElementsAre(1, 2, 3, 2, 1));
}

TEST(FusionWeights, OverlapLinearRampsOnlyInsideTheVideo) {
  const auto list = windows(20, 8, 4);
  ASSERT_EQ(list.size(), 4U);
  const double third = 1.0 / 3.0;
  EXPECT_THAT(fusion_weights(FusionKind::kOverlapLinear, list[0], 4, 20),
              Pointwise(DoubleEq(), {1.0, 1.0, 1.0, 1.0, 1.0, 1 - third, third, 1e-37}));
  EXPECT_THAT(fusion_weights(FusionKind::kOverlapLinear, list[1], 4, 20),
              Pointwise(DoubleEq(), {1e-37, third, 1 - third, 1.0, 1.0, 1 - third, third, 1e-37}));
  EXPECT_THAT(fusion_weights(FusionKind::kOverlapLinear, list[3], 4, 20),
              Pointwise(DoubleEq(), {1e-37, third, 1 - third, 1.0, 1.0, 1.0, 1.0, 1.0}));
}

TEST(FusionWeights, OverlapLinearTakesTheFallingRampWhereTwoMeet) {
  const Window inner{1, {4, 5, 6, 7}};
  EXPECT_THAT(fusion_weights(FusionKind::kOverlapLinear, inner, 3, 20),
              Pointwise(DoubleEq(), {1e-37, 1.0, 0.5, 1e-37}));
  EXPECT_THAT(fusion_weights(FusionKind::kOverlapLinear, inner, 1, 20),
              Pointwise(DoubleEq(), {1e-37, 1.0, 1.0, 1.0}));
}

TEST(FusionTerms, AreNormalisedAndInWindowOrder) {
  for (const auto kind : {FusionKind::kFlat, FusionKind::kPyramid, FusionKind::kOverlapLinear}) {
    for (const int frames : {1, 7, 16, 17, 40, 43}) {
      const auto list = windows(frames, 16, 8);
      for (int frame = 0; frame < frames; ++frame) {
        const auto terms = fusion_terms(kind, list, frame, 8, frames);
        double sum = 0;
        for (std::size_t i = 0; i < terms.size(); ++i) {
          sum += terms[i].weight;
          EXPECT_GT(terms[i].weight, 0.0F);
          if (i > 0) {
            EXPECT_LT(terms[i - 1].window, terms[i].window);
          }
          const auto& window = list[static_cast<std::size_t>(terms[i].window)];
          EXPECT_EQ(window.frames[static_cast<std::size_t>(terms[i].position)], frame);
        }
        EXPECT_NEAR(sum, 1.0, 1e-6);
      }
    }
  }
}

TEST(FusionTerms, GiveTheTailItsOwnWeightsAtAnyLength) {
  // 43 frames: windows 0, 12, 24, 27. Frame 42 is in the last window alone; frame 39 in two.
  const auto list = windows(43, 16, 4);
  EXPECT_THAT(fusion_terms(FusionKind::kPyramid, list, 42, 4, 43),
              ElementsAre(FusionTerm{3, 15, 1.0F}));
  const auto terms = fusion_terms(FusionKind::kPyramid, list, 39, 4, 43);
  ASSERT_EQ(terms.size(), 2U);
  EXPECT_THAT(terms[0].weight, FloatEq(0.2F));  // position 15 weighs 1, position 12 weighs 4
  EXPECT_THAT(terms[1].weight, FloatEq(0.8F));
}

TEST(FusionTerms, RefuseAFrameNoWindowCovers) {
  const auto list = windows(16, 16, 4);
  EXPECT_THROW(fusion_terms(FusionKind::kFlat, list, 16, 4, 17), Error);
}

TEST(CausalRamp, FallsFromThePredecessorToTheSuccessor) {
  EXPECT_THAT(causal_ramp(5), ElementsAre(1.0F, 0.75F, 0.5F, 0.25F, 0.0F));
  EXPECT_THAT(causal_ramp(1), ElementsAre(0.5F));
  EXPECT_TRUE(causal_ramp(0).empty());
}

TEST(FreeNoise, LeavesTheFirstWindowAlone) {
  for (int frame = 0; frame < 16; ++frame) EXPECT_EQ(freenoise_source(frame, 16, 4, 7), frame);
}

TEST(FreeNoise, ShufflesEachBlockOfStrideFramesFromOneWindowBefore) {
  for (int block = 16; block < 200; block += 4) {
    std::vector<int> from;
    std::vector<int> to;
    for (int i = 0; i < 4; ++i) {
      from.push_back(freenoise_source(block - 16 + i, 16, 4, 7));
      to.push_back(freenoise_source(block + i, 16, 4, 7));
    }
    EXPECT_THAT(to, ::testing::UnorderedElementsAreArray(from)) << "block " << block;
  }
}

TEST(FreeNoise, ShufflesDifferentlyPerBlockAndPerSeed) {
  int differs_by_seed = 0;
  int moved = 0;
  for (int frame = 16; frame < 400; ++frame) {
    differs_by_seed += freenoise_source(frame, 16, 4, 1) != freenoise_source(frame, 16, 4, 2);
    moved += freenoise_source(frame, 16, 4, 1) != frame % 16;
  }
  EXPECT_GT(differs_by_seed, 200);
  EXPECT_GT(moved, 200);
}

// In whatever order they are asked for, and when more were asked for than are kept.
TEST(FreeNoise, KeptSourcesAreTheSame) {
  FreenoiseSources sources(16, 5, 3);
  const auto agrees = [&](int frame) {
    return sources.of(frame) == freenoise_source(frame, 16, 5, 3);
  };
  for (int frame = 0; frame < 3000; ++frame) ASSERT_TRUE(agrees(frame)) << frame;
  for (int frame = 3000; frame >= 0; frame -= 7) ASSERT_TRUE(agrees(frame)) << frame;
  for (int frame = 20'000; frame < 20'100; ++frame) ASSERT_TRUE(agrees(frame)) << frame;
  EXPECT_THROW(FreenoiseSources(16, 17, 3).of(20), Error);
}

TEST(FreeNoise, HandlesStridesThatDoNotDivideTheWindow) {
  for (int frame = 0; frame < 300; ++frame) {
    const int source = freenoise_source(frame, 16, 5, 3);
    EXPECT_GE(source, 0);
    EXPECT_LT(source, 16);
  }
  EXPECT_THROW(freenoise_source(20, 16, 17, 3), Error);
  EXPECT_THROW(freenoise_source(20, 16, 0, 3), Error);
}

}  // namespace
}  // namespace seamwright::scheduling

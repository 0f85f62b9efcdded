// A U-Net cut into stages gives the same bits as a whole one, for every cut, odd sizes included.
#include <gtest/gtest.h>

#include "model/reference/reference.h"
#include "tests/unit/model/tiny_networks.h"

namespace seamwright::model::testing_support {
namespace {

class Stages : public ::testing::TestWithParam<std::array<std::int64_t, 2>> {
 protected:
  Stages() : sample_(ops::upload(exec_, fixture_input({4, 3, GetParam()[0], GetParam()[1]}))) {
    UNet whole(config_, load_.context, nullptr);
    PromptContext context = fixture_context(1);
    expected_ = values_of(*backend_, whole.predict(exec_, sample_, input(context)));
    blocks_ = whole.blocks().size();
    for (const auto& block : whole.blocks()) names_.push_back(block.name);
    for (std::size_t at = 0; at <= blocks_; ++at) crossing_.push_back(whole.crossing(at));
  }

  DenoiseInput input(PromptContext& context) const {
    return {.timestep = 77, .context = &context, .height = GetParam()[0], .width = GetParam()[1]};
  }

  // What another rank would receive: only what crosses, in memory of its own.
  Activations received(Activations& sent, std::size_t cut) {
    Activations there;
    for (const auto& name : crossing_[cut]) {
      there.put(name, ops::affine(exec_, 1, 0, sent.get(name)));
    }
    return there;
  }

  UNetConfig config_ = [] {
    UNetConfig c = tiny_unet_motion(true);
    c.block_out_channels = {16, 32, 32};
    c.down_attention = {true, true, false};
    c.up_attention = {false, true, true};
    c.layers_per_block = c.transformer_layers = c.up_transformer_layers = {1, 1, 1};
    c.cross_attention_dim = {16, 16, 16};
    c.heads = {2, 2, 2};
    c.motion->transformer_layers = c.motion->up_transformer_layers = {1, 1, 1};
    c.motion->heads = c.motion->up_heads = {8, 8, 8};
    return c;
  }();
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Exec exec_{*backend_, heap()};
  FormulaLoad load_{*backend_};
  Tensor sample_;
  std::vector<double> expected_;
  std::size_t blocks_ = 0;
  std::vector<std::string> names_;
  std::vector<std::vector<std::string>> crossing_;
};

TEST_P(Stages, AnyCutGivesTheSameBits) {
  for (std::size_t cut = 1; cut < blocks_; ++cut) {
    // Each stage loads its own blocks only.
    FormulaLoad first_load(*backend_), second_load(*backend_);
    const UNet first(config_, first_load.context, nullptr, {.blocks = {{0, cut}}});
    const UNet second(config_, second_load.context, nullptr, {.blocks = {{cut, blocks_}}});
    PromptContext context1 = fixture_context(1), context2 = fixture_context(1);
    Activations here;
    here.borrow("sample", sample_);
    first.run(exec_, 0, cut, input(context1), here);
    Activations there = received(here, cut);
    second.run(exec_, cut, blocks_, input(context2), there);
    EXPECT_EQ(values_of(*backend_, there.get("prediction")), expected_) << "cut at " << cut;
    EXPECT_LT(second_load.source.names().size(), load_.source.names().size());
  }
}

TEST_P(Stages, AStageRefusesBlocksItDidNotLoad) {
  FormulaLoad load(*backend_);
  const UNet unet(config_, load.context, nullptr, {.blocks = {{0, 3}}});
  PromptContext context = fixture_context(1);
  EXPECT_EQ(unet.blocks().size(), blocks_);
  EXPECT_EQ(unet.blocks()[5].weight_bytes, 0U);
  EXPECT_GT(unet.blocks()[2].weight_bytes, 0U);
  EXPECT_THROW(unet.predict(exec_, sample_, input(context)), Error);
}

TEST_P(Stages, AFoldedUGivesTheSameBits) {
  // A rank holds the head of the down path and its mirror at the end of the up path, another what
  // lies between: skip connections of the outer rank never leave it.
  std::size_t left = 0, right = 0;
  for (std::size_t i = 0; i < blocks_; ++i) {
    if (names_[i] == "down_blocks.1.resnets.0") left = i;
    if (names_[i] == "up_blocks.2.resnets.0") right = i;
  }
  ASSERT_LT(left, right);
  FormulaLoad outer_load(*backend_), inner_load(*backend_);
  const UNet outer_unet(config_, outer_load.context, nullptr,
                        {.blocks = {{0, left}, {right, blocks_}}});
  const UNet inner_unet(config_, inner_load.context, nullptr, {.blocks = {{left, right}}});
  PromptContext outer = fixture_context(1), inner = fixture_context(1);
  Activations here, there;
  here.borrow("sample", sample_);
  outer_unet.run(exec_, 0, left, input(outer), here);
  // The inner rank reads the last skip and gives nothing of it back: the outer one keeps its own.
  there.put("skip.2", ops::affine(exec_, 1, 0, here.get("skip.2")));
  inner_unet.run(exec_, left, right, input(inner), there);
  here.put("h", there.take("h"));
  outer_unet.run(exec_, right, blocks_, input(outer), here);
  EXPECT_EQ(values_of(*backend_, here.get("prediction")), expected_);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Stages,
                         ::testing::Values(std::array<std::int64_t, 2>{4, 8},
                                           std::array<std::int64_t, 2>{7, 5}));

}  // namespace
}  // namespace seamwright::model::testing_support

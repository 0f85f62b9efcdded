#include "model/inspect.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/model/network_parity.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

const fs::path kCheckpoints = fs::path(SEAMWRIGHT_FIXTURES) / "checkpoints";

TEST(Inspect, EveryTinyCheckpointLoadsAndIsCounted) {
  for (const auto& name : testing_support::parity_checkpoints()) {
    SCOPED_TRACE(name);
    const ModelReport report = inspect_model({.load = {.model = kCheckpoints / name}});
    EXPECT_TRUE(report.loads()) << to_text(report);
    ASSERT_EQ(report.parts.size(), 3U);
    std::int64_t parameters = 0;
    for (const auto& block : report.denoiser.blocks) {
      EXPECT_GT(block.flops, 0) << block.name;
      EXPECT_GT(block.weight_bytes, 0U) << block.name;
      parameters += block.parameters;
    }
    EXPECT_LT(parameters, report.parts[0].parameters);  // the time embedding is no block
    EXPECT_GT(parameters, report.parts[0].parameters / 2);
    EXPECT_GT(report.denoiser.peak_activation_bytes, 0U);
  }
}

TEST(Inspect, CutsCostWhatCrossesThem) {
  const ModelReport report = inspect_model({.load = {.model = kCheckpoints / "unetmotion3"},
                                            .frames = 4,
                                            .latent_height = 8,
                                            .latent_width = 8});
  const auto& blocks = report.denoiser.blocks;
  EXPECT_EQ(blocks[0].crossing_bytes, 0U);
  EXPECT_EQ(blocks[1].crossing_bytes, 4U * 8 * 8 * 16 * 4);  // conv_in's result, in F32
  EXPECT_EQ(blocks.back().crossing_bytes, 4U * 8 * 8 * 16 * 4);
}

TEST(Inspect, NamesWhatWouldBeRefusedAndGoesOn) {
  const fs::path broken = fs::path(::testing::TempDir()) / "inspect_broken";
  fs::remove_all(broken);
  fs::copy(kCheckpoints / "unetmotion3", broken, fs::copy_options::recursive);
  fs::remove_all(broken / "vae");
  fs::remove_all(broken / "tokenizer");
  const ModelReport report = inspect_model({.load = {.model = broken}});
  EXPECT_FALSE(report.loads());
  EXPECT_TRUE(report.parts[0].refused.empty());
  EXPECT_FALSE(report.parts[1].refused.empty());
  EXPECT_EQ(report.refusals.size(), 1U);
  const std::string text = to_text(report);
  EXPECT_NE(text.find("refused: vae"), std::string::npos) << text;
  EXPECT_NE(text.find("down_blocks.0.motion_modules.0"), std::string::npos) << text;
  fs::remove_all(broken);
}

TEST(Inspect, ThrowsWithoutAFolder) {
  EXPECT_THROW(inspect_model({.load = {.model = "/nowhere"}}), Error);
}

}  // namespace
}  // namespace seamwright::model

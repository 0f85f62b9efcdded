// Names of the original repositories against lists made with diffusers' own conversion
// (tools/reference/make_original_keys.py), both ways.
#include "model/files/original_names.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace seamwright::model {
namespace {

struct Line {
  std::string original, diffusers;
};

std::vector<Line> read_list(const std::string& part) {
  std::ifstream file(std::string(SEAMWRIGHT_FIXTURES) + "/keys/original_" + part + ".txt");
  EXPECT_TRUE(file.is_open()) << part;
  std::vector<Line> lines;
  for (std::string text; std::getline(file, text);) {
    std::istringstream in(text);
    in >> lines.emplace_back().original >> lines.back().diffusers;
  }
  return lines;
}

TEST(OriginalNames, OfTheUNetAreDiffusersConversion) {
  const auto lines = read_list("unet");
  EXPECT_EQ(lines.size(), 686U);
  for (const auto& line : lines) {
    EXPECT_EQ(unet_from_original(line.original).value_or("none"), line.diffusers);
    EXPECT_EQ(unet_to_original(line.diffusers), line.original);
  }
}

TEST(OriginalNames, OfTheVaeAreDiffusersConversion) {
  const auto lines = read_list("vae");
  EXPECT_EQ(lines.size(), 248U);
  for (const auto& line : lines) {
    EXPECT_EQ(vae_from_original(line.original).value_or("none"), line.diffusers);
    EXPECT_EQ(vae_to_original(line.diffusers), line.original);
  }
}

TEST(OriginalNames, OfMotionModulesAreDiffusersConversion) {
  const auto lines = read_list("motion");
  EXPECT_EQ(lines.size(), 546U);
  for (const auto& line : lines) {
    EXPECT_EQ(motion_from_original(line.original).value_or("none"), line.diffusers);
    EXPECT_EQ(motion_from_original("module." + line.original).value_or("none"), line.diffusers);
    EXPECT_EQ(motion_from_original(line.diffusers).value_or("none"), line.diffusers);
    EXPECT_EQ(motion_to_original(line.diffusers), std::vector<std::string>{line.original});
  }
}

TEST(OriginalNames, PositionTablesOfBothAttentionsAreOne) {
  const std::string head = "up_blocks.1.motion_modules.2.";
  const std::string block = head + "temporal_transformer.transformer_blocks.0.attention_blocks.";
  const std::string table = head + "transformer_blocks.0.pos_embed.pe";
  for (const char* n : {"0", "1"}) {
    EXPECT_EQ(motion_from_original(block + n + ".pos_encoder.pe").value_or("none"), table);
  }
  EXPECT_EQ(motion_to_original(table),
            (std::vector<std::string>{block + "0.pos_encoder.pe", block + "1.pos_encoder.pe"}));
}

TEST(OriginalNames, NamesOfOtherNetworksHaveNoPlace) {
  for (const char* name :
       {"", "input_blocks", "input_blocks.", "input_blocks.0.1.weight",
        "input_blocks.3.1.norm.bias", "input_blocks.4.2.norm.bias",
        "input_blocks.01.0.in_layers.0.bias", "label_emb.0.0.weight",
        "output_blocks.0.1.conv.weight", "output_blocks.2.3.conv.weight", "middle_block.3.x",
        "middle_block.1.in_layers.0.bias", "input_blocks.-1.0.in_layers.0.bias", "out.1.weight"}) {
    EXPECT_EQ(unet_from_original(name), std::nullopt) << name;
  }
  for (const char* name : {"encoder.", "encoder.up.0.block.0.norm1.bias", "decoder.up.4.block.0.x",
                           "decoder.mid.attn_1.x", "loss.logvar", "encoder.mid.block_1"}) {
    EXPECT_EQ(vae_from_original(name), std::nullopt) << name;
  }
  for (const char* name :
       {"conv_in.weight", "down_blocks.0.resnets.0.norm1.bias", "mid_block.motion_modules.",
        "down_blocks.x.motion_modules.0.norm.bias"}) {
    EXPECT_EQ(motion_from_original(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace seamwright::model

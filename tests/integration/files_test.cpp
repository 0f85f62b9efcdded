// The program with community files: single-file checkpoints, motion modules, LoRA.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "media/metadata.h"
#include "tests/integration/file_runs.h"

namespace seamwright {
namespace {

using media::TemporaryFolder;
using ::testing::HasSubstr;
using testing_support::both_layouts_agree;
using testing_support::kFixtures;
using testing_support::latents_hash;
using testing_support::program;

TEST(CommunityFiles, BothLayoutsGiveTheSameLatents) {
  both_layouts_agree("8", {"--frames", "12", "--size", "64x64", "--window", "8", "--overlap", "4",
                           "--steps", "2", "--guidance", "1"});
}

TEST(CommunityFiles, LoraIsPartOfTheRequestAndComesBackFromTheSidecar) {
  TemporaryFolder folder;
  const auto base = (kFixtures / "checkpoints" / "unet2d_adapter_v2").string();
  const auto lora = (kFixtures / "loras" / "kohya.safetensors").string();
  const std::vector<std::string> size = {"--frames", "4", "--size",    "64x48",
                                         "--steps",  "2", "--sampler", "ddim"};
  const auto plain = latents_hash({"--model", base}, folder / "plain.json", size);
  const auto with =
      latents_hash({"--model", base, "--lora", lora + ":0.7"}, folder / "l.json", size);
  EXPECT_NE(plain, with);
  EXPECT_EQ(plain, latents_hash({"--model", base, "--lora", lora + ":0"}, folder / "0.json", size));
  const auto motion = (kFixtures / "loras" / "motion_original.safetensors").string();
  EXPECT_EQ(with, latents_hash({"--model", base, "--lora", lora + ":0.7", "--lora", motion + ":0"},
                               folder / "two.json", size));
  EXPECT_NE(with, latents_hash({"--model", base, "--lora", lora + ":0.7", "--lora", motion},
                               folder / "two.json", size));
  // As threads of a gang the same.
  EXPECT_EQ(with, latents_hash({"--model", base, "--lora", lora + ":0.7", "--launcher", "none",
                                "--window-parallel-size", "1", "--pipeline-parallel-size", "2"},
                               folder / "gang.json", size));

  std::vector<std::string> make = {"generate",
                                   "--prompt",
                                   "a red circle",
                                   "--threads",
                                   "1",
                                   "--model",
                                   base,
                                   "--lora",
                                   lora + ":0.7",
                                   "--out",
                                   (folder / "a.gif").string()};
  make.insert(make.end(), size.begin(), size.end());
  const auto made = program(make);
  ASSERT_EQ(made.exit.code, 0) << made.errors;
  const auto sidecar = media::read_sidecar((folder / "a.gif.json").string());
  EXPECT_EQ(sidecar["request"]["lora"],
            nlohmann::json::parse(R"([{"file": ")" + lora + R"(", "scale": 0.7}])"));
  const auto again = program({"generate", "--from-sidecar", (folder / "a.gif.json").string(),
                              "--out", (folder / "b.gif").string()});
  ASSERT_EQ(again.exit.code, 0) << again.errors;
  const auto second = media::read_sidecar((folder / "b.gif.json").string());
  EXPECT_EQ(second["result"]["latents_sha256"], with);
  EXPECT_EQ(second["models"], sidecar["models"]);
}

TEST(CommunityFiles, InspectSaysWhatAFileIsAndRefusesPickles) {
  const auto lora = program({"models", "inspect", (kFixtures / "loras/peft.safetensors").string()});
  EXPECT_EQ(lora.exit.code, 0);
  EXPECT_THAT(lora.output, HasSubstr("LoRA in PEFT names, rank 4"));
  EXPECT_THAT(lora.output, HasSubstr("--lora FILE:0.8"));
  TemporaryFolder folder;
  const auto pickle = folder / "mm.ckpt";
  std::ofstream(pickle) << "PK";
  for (const auto& arguments : {std::vector<std::string>{"models", "inspect", pickle.string()},
                                {"generate", "--prompt", "x", "--model", pickle.string()},
                                {"generate", "--prompt", "x", "--model",
                                 (kFixtures / "checkpoints" / "unet2d_adapter_v2").string(),
                                 "--motion-adapter", pickle.string()},
                                {"generate", "--prompt", "x", "--lora", pickle.string()}}) {
    const auto refused = program(arguments);
    EXPECT_NE(refused.exit.code, 0) << arguments[0];
    EXPECT_THAT(refused.errors, HasSubstr("Python pickle"));
    EXPECT_THAT(refused.errors, HasSubstr("weights_only=True"));
  }
}

}  // namespace
}  // namespace seamwright

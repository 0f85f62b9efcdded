// Requests that start from pictures and videos, by the program: one hash from one process, from a
// gang under mpirun, and after a rank was killed in the middle and the same command was given
// again.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "media/image.h"
#include "media/video_writer.h"
#include "tests/integration/file_runs.h"

namespace seamwright {
namespace {

using media::TemporaryFolder;
using testing_support::kFixtures;
using testing_support::program;
using Arguments = std::vector<std::string>;

constexpr int kSide = 32;

media::RgbImage picture(int number) {
  media::RgbImage image(kSide, kSide);
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      auto* pixel = image.at(x, y);
      pixel[0] = static_cast<std::uint8_t>((x * 5 + number * 11) % 256);
      pixel[1] = static_cast<std::uint8_t>((y * 7 + number * 3) % 256);
      pixel[2] = static_cast<std::uint8_t>((x * y + number * 29) % 256);
    }
  }
  return image;
}

struct Start {
  const char* name;
  Arguments arguments;  // PICTURE and VIDEO stand for files
};

class GivenFrames : public ::testing::TestWithParam<Start> {
 protected:
  void SetUp() override {
    media::write_png(folder_ / "first.png", picture(1).view());
    media::VideoOptions format;
    format.width = format.height = kSide;
    media::VideoWriter writer(folder_ / "before.mp4", format);
    for (int i = 0; i < 24; ++i) writer.write(picture(i).view());
    writer.finish();
  }

  media::ChildResult generate(const Arguments& more) {
    Arguments all = {"generate",
                     "--model",
                     (kFixtures / "checkpoints" / "unet2d_adapter_v3").string(),
                     "--prompt",
                     "a cat on a hill",
                     "--frames",
                     "24",
                     "--size",
                     "32x32",
                     "--window",
                     "8",
                     "--overlap",
                     "4",
                     "--steps",
                     "3",
                     "--guidance",
                     "1",
                     "--seed",
                     "11",
                     "--threads",
                     "1",
                     "--no-video",
                     "--quiet",
                     "--report",
                     (folder_ / "report.json").string()};
    for (const auto& word : GetParam().arguments) {
      all.push_back(word == "PICTURE" ? (folder_ / "first.png").string()
                    : word == "VIDEO" ? (folder_ / "before.mp4").string()
                                      : word);
    }
    all.insert(all.end(), more.begin(), more.end());
    return program(all);
  }

  nlohmann::json report() {
    return nlohmann::json::parse(std::ifstream(folder_ / "report.json"), nullptr, false);
  }

  TemporaryFolder folder_;
};

TEST_P(GivenFrames, GiveOneHashAloneInAGangAndAfterALoss) {
  if (program({"doctor", "--json"}).output.find("mpirun") == std::string::npos) {
    GTEST_SKIP() << "mpirun is not installed";
  }
  const auto alone = generate({});
  ASSERT_EQ(alone.exit.code, 0) << alone.errors;
  const auto hash = report().at("latents_sha256");
  const int evaluations = report().at("evaluations");

  const Arguments gang = {"--window-parallel-size", "2", "--launcher", "mpirun"};
  const auto together = generate(gang);
  ASSERT_EQ(together.exit.code, 0) << together.errors;
  EXPECT_EQ(report().at("latents_sha256"), hash);

  Arguments resumed = gang;
  resumed.insert(resumed.end(), {"--resume", (folder_ / "kept").string(), "--checkpoint-steps", "1",
                                 "--segment-frames", "8"});
  Arguments killed = resumed;
  killed.insert(killed.end(), {"--failpoint", "kill:rank=1:task=36"});
  EXPECT_NE(generate(killed).exit.code, 0);
  const auto again = generate(resumed);
  ASSERT_EQ(again.exit.code, 0) << again.errors;
  EXPECT_EQ(report().at("latents_sha256"), hash);
  EXPECT_EQ(report().at("recovery").at("attempt"), 2);
  EXPECT_LT(report().at("evaluations"), evaluations) << "it began again instead of going on";
}

INSTANTIATE_TEST_SUITE_P(
    Starts, GivenFrames,
    ::testing::Values(Start{"Picture", {"--init-image", "PICTURE"}},
                      Start{"MissingFrames", {"--input-video", "VIDEO", "--missing", "5-12,16"}},
                      Start{"MissingFramesCausal",
                            {"--input-video", "VIDEO", "--missing", "0-9,20-22", "--coherence",
                             "causal"}},
                      Start{"Extension", {"--extend", "VIDEO", "--coherence", "causal"}}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace seamwright

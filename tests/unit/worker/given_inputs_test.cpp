// Which frames of pictures and videos are taken, video to video, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "tests/unit/worker/given_frames_fixture.h"
#include "worker/given_frames.h"

namespace seamwright::worker {
namespace {

using ::testing::HasSubstr;

TEST_F(GivenFramesTest, TakesTheChosenFramesOfAVideo) {
  auto o = options();
  o.request.input_video = video(2 * kFrames + 3).string();
  o.request.input_skip = 4;
  o.request.input_step = 2;
  o.request.missing = "3";
  EXPECT_EQ(frames_of_input(o.request), kFrames);
  const auto chosen = run(o);
  auto whole = options();
  whole.request.input_video = o.request.input_video;
  whole.request.frames = kFrames;
  whole.request.missing = "3";
  const auto first = run(whole);
  for (int k = 0; 4 + 2 * k < kFrames; ++k) {
    if (k == 3) continue;
    EXPECT_EQ(chosen[static_cast<std::size_t>(k)], first[static_cast<std::size_t>(4 + 2 * k)]) << k;
  }
}

TEST_F(GivenFramesTest, RefusesToChooseMoreFramesThanThereAre) {
  auto r = options().request;
  r.input_video = video(kFrames).string();
  r.strength = 0.5;
  EXPECT_NO_THROW(check_given_files(r));
  r.input_skip = 1;
  EXPECT_THROW(check_given_files(r), Error);
  r.input_skip = kFrames;
  EXPECT_THROW(frames_of_input(r), Error);
}

TEST_F(GivenFramesTest, VideoToVideoStaysCloserTheLessIsDone) {
  std::vector<double> distances;
  for (const char* coherence : {"local", "causal"}) {
    SCOPED_TRACE(coherence);
    for (const double strength : {0.25, 0.75}) {
      auto o = options(coherence);
      o.request.steps = 4;
      o.request.input_video = video(kFrames).string();
      o.request.strength = strength;
      const auto made = run(o);
      EXPECT_EQ(last_.report.at("evaluations"), 4 * 4 * strength * (coherence[0] == 'c' ? 2 : 1));
      auto known = options(coherence);
      known.request.input_video = o.request.input_video;
      known.request.missing = "1";
      const auto source = run(known);
      double sum = 0;
      for (int f = 2; f < kFrames; ++f) {
        sum += distance(made[static_cast<std::size_t>(f)], source[static_cast<std::size_t>(f)]);
      }
      distances.push_back(sum);
    }
    EXPECT_LT(distances[distances.size() - 2], distances.back());
    EXPECT_GT(distances[distances.size() - 2], 0);
  }
}

TEST_F(GivenFramesTest, VideoToVideoTakesAGuidanceOfItsOwn) {
  auto o = options();
  o.model_folder = folder_ / "model";
  fs::copy(kModel, o.model_folder, fs::copy_options::recursive);
  std::ofstream(o.model_folder / "seamwright.json") << R"({"guidance": 1, "video_guidance": 2})";
  o.request.steps = 4;
  o.request.guidance = -1;
  const int windows = 4;
  EXPECT_EQ(generate(o, {}).report.at("evaluations"), windows * 4);
  o.request.input_video = video(kFrames).string();
  o.request.strength = 0.5;
  EXPECT_EQ(generate(o, {}).report.at("evaluations"), windows * 2 * 2);  // two branches
  o.request.guidance = 1;
  EXPECT_EQ(generate(o, {}).report.at("evaluations"), windows * 2);
  // Known frames are not video to video: nothing of the picture is to be changed.
  o.request.guidance = -1;
  o.request.strength = 1;
  o.request.missing = "3";
  const auto filled = generate(o, {}).report.at("evaluations");
  o.request.guidance = 1;
  EXPECT_EQ(generate(o, {}).report.at("evaluations"), filled);
}

TEST_F(GivenFramesTest, VideoToVideoIsTheSameInEveryLayout) {
  auto o = options("local", "euler_a");
  o.request.input_video = video(kFrames).string();
  o.request.strength = 0.7;
  const auto alone = hash(o);
  o.layout = {2, 1, false};
  EXPECT_EQ(hash(o), alone);
  o.layout = {1, 2, false};
  EXPECT_EQ(hash(o), alone);
}

TEST_F(GivenFramesTest, PicturesOfOtherSizesAreCutToTheMiddle) {
  auto o = options();
  o.request.init_image = png(1, 48, 32).string();
  const auto made = run(o);
  media::RgbImage middle(kSide, kSide);
  const auto wide = picture(1, 48, 32);
  for (int y = 0; y < kSide; ++y) std::copy_n(wide.at(8, y), kSide * 3, middle.at(0, y));
  EXPECT_EQ(made[0], encoded(middle));
}

TEST_F(GivenFramesTest, WhatCannotBeDoneIsRefused) {
  const auto refused = [&](auto change) {
    auto o = options();
    change(o.request);
    return error_of(o);
  };
  const auto short_video = video(6).string();
  EXPECT_THAT(refused([&](JobRequest& r) { r.input_video = short_video; }),
              HasSubstr("exactly one of"));
  EXPECT_THAT(refused([&](JobRequest& r) {
                r.input_video = short_video;
                r.strength = 0.5;
              }),
              HasSubstr("has 6 frames"));
  EXPECT_THAT(refused([&](JobRequest& r) {
                r.input_video = short_video;
                r.missing = "2";
              }),
              HasSubstr("frame 6 of the result is to come from it"));
  EXPECT_THAT(refused([&](JobRequest& r) {
                r.extend = short_video;
                r.init_image = short_video;
              }),
              HasSubstr("only one of"));
  EXPECT_THAT(refused([&](JobRequest& r) {
                r.keyframes = {{20, short_video}};
              }),
              HasSubstr("keyframe 20"));
  EXPECT_THAT(refused([&](JobRequest& r) { r.missing = "3"; }), HasSubstr("input_video"));
  EXPECT_THAT(refused([&](JobRequest& r) { r.strength = 0.5; }), HasSubstr("need input_video"));
  EXPECT_THAT(refused([&](JobRequest& r) {
                r.extend = short_video;
                r.window = 16;
                r.overlap = 8;
              }),
              HasSubstr("8 are handed over"));
}

TEST_F(GivenFramesTest, HostileMediaIsRefused) {
  const auto write = [&](const char* name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return (folder_ / name).string();
  };
  std::string good;
  {
    std::ifstream in(png(1), std::ios::binary);
    good.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::string wide = good;  // the header claims 100,000 columns
  wide[16] = 0;
  wide[17] = 1;
  wide[18] = static_cast<char>(0x86);
  wide[19] = static_cast<char>(0xa0);
  const std::vector<std::string> files = {write("empty.png", ""),
                                          write("text.png", "not a picture"),
                                          write("cut.png", good.substr(0, 60)),
                                          write("wide.png", wide),
                                          (folder_ / "absent.png").string(),
                                          folder_.path().string()};
  for (const auto& file : files) {
    auto o = options();
    o.request.init_image = file;
    EXPECT_THAT(error_of(o), HasSubstr(fs::path(file).filename().string())) << file;
  }
}

}  // namespace
}  // namespace seamwright::worker

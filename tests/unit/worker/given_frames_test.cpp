// Frames that are given: exact in the result, the same bits in every layout, refused when unfit.
#include "worker/given_frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "media/image.h"
#include "media/pixels.h"
#include "media/video_writer.h"
#include "model/safetensors.h"
#include "tests/unit/media/temporary_folder.h"
#include "worker/frame_math.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;
using media::TemporaryFolder;
using ::testing::HasSubstr;

const fs::path kModel = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
constexpr int kFrames = 20;
constexpr int kSide = 32;

media::RgbImage picture(int number, int width = kSide, int height = kSide) {
  media::RgbImage image(width, height);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      auto* pixel = image.at(x, y);
      pixel[0] = static_cast<std::uint8_t>((x * 3 + number * 17) % 256);
      pixel[1] = static_cast<std::uint8_t>((y * 2 + number * 5) % 256);
      pixel[2] = static_cast<std::uint8_t>((x + y + number * 40) % 256);
    }
  }
  return image;
}

using Latents = std::vector<std::vector<float>>;  // by frame

class GivenFramesTest : public ::testing::Test {
 protected:
  GenerateOptions options(const std::string& coherence = "local",
                          const std::string& sampler = "ddim") {
    GenerateOptions o;
    o.model_folder = kModel;
    auto& r = o.request;
    r.prompt = "a cat on a hill";
    r.frames = kFrames;
    r.window = 8;
    r.overlap = 4;
    r.width = r.height = kSide;
    r.steps = 3;
    r.guidance = 1;
    r.seed = 11;
    r.coherence = coherence;
    r.sampler = sampler;
    o.threads = 1;
    return o;
  }

  fs::path png(int number, int width = kSide, int height = kSide) {
    const auto file = folder_.path() / fmt::format("p{}-{}x{}.png", number, width, height);
    media::write_png(file, picture(number, width, height).view());
    return file;
  }
  // Lossless, so that its frames are known: a GIF would quantise, PNG folders are no video.
  fs::path video(int frames) {
    const auto file = folder_.path() / fmt::format("v{}.mp4", frames);
    media::VideoOptions video;
    video.width = video.height = kSide;
    media::VideoWriter writer(file, video);
    for (int i = 0; i < frames; ++i) writer.write(picture(i).view());
    writer.finish();
    return file;
  }

  Latents run(GenerateOptions o) {
    o.latents_out = folder_ / "latents.safetensors";
    last_ = generate(o, {});
    const model::SafetensorsFile file(*o.latents_out);
    const auto* tensor = file.find("latents");
    std::vector<float> values(static_cast<std::size_t>(tensor->shape.elements()));
    model::copy_to_float(*tensor, values);
    const auto n = static_cast<std::ptrdiff_t>(values.size() / kFrames);
    Latents frames;
    for (int f = 0; f < kFrames; ++f) {
      frames.emplace_back(values.begin() + f * n, values.begin() + (f + 1) * n);
    }
    return frames;
  }
  std::string hash(const GenerateOptions& o) {
    return generate(o, {}).report.at("latents_sha256").get<std::string>();
  }
  std::string error_of(const GenerateOptions& o) {
    try {
      generate(o, {});
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was refused";
  }

  TemporaryFolder folder_;
  GenerateResult last_;
};

// What the codec makes of a picture.
std::vector<float> encoded(const media::RgbImage& image) {
  const auto backend = make_backend("cpu", "fp32", 1);
  const auto model =
      model::VideoModel::load({.model = kModel, .parts = {model::Part::kCodec}}, *backend);
  model::Exec exec{*backend, backend->memory()};
  std::vector<float> pixels(image.pixels.size());
  media::from_rgb8(image.pixels, pixels);
  const auto input = model::ops::upload(
      exec, {pixels.data(), model::DType::kF32, {1, image.height, image.width, 3}});
  const auto out = model->codec().encode(exec, input);
  model::Tensor host(model::heap(), model::DType::kF32, out.shape());
  backend->download(out, host);
  std::vector<float> planes(static_cast<std::size_t>(host.view().elements()));
  rows_to_planes({host.view().as<float>(), planes.size()}, 4, planes);
  return planes;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  }
  return std::sqrt(sum / static_cast<double>(a.size()));
}

struct Mode {
  const char* coherence;
  const char* sampler;
};

class EveryMode : public GivenFramesTest, public ::testing::WithParamInterface<Mode> {};

TEST_P(EveryMode, KeepsKnownFramesExactAndMakesTheOthers) {
  auto o = options(GetParam().coherence, GetParam().sampler);
  o.request.init_image = png(1).string();
  o.request.keyframes = {{9, png(2).string()}, {19, png(3).string()}};
  const auto first = run(o);
  o.request.seed = 12;
  const auto second = run(o);
  const auto plain_options = options(GetParam().coherence, GetParam().sampler);
  const auto plain = run(plain_options);
  for (int f = 0; f < kFrames; ++f) {
    const bool known = f == 0 || f == 9 || f == 19;
    const auto at = static_cast<std::size_t>(f);
    EXPECT_EQ(first[at] == second[at], known) << "frame " << f;
    EXPECT_NE(first[at], plain[at]) << "frame " << f << " does not feel the known ones";
    for (float v : first[at]) ASSERT_TRUE(std::isfinite(v));
  }
  EXPECT_EQ(first[0], encoded(picture(1)));
  EXPECT_EQ(first[9], encoded(picture(2)));
  EXPECT_EQ(first[19], encoded(picture(3)));
}

INSTANTIATE_TEST_SUITE_P(Modes, EveryMode,
                         ::testing::Values(Mode{"local", "ddim"}, Mode{"local", "dpm++_2m"},
                                           Mode{"local", "euler_a"}, Mode{"local", "lcm"},
                                           Mode{"causal", "ddim"}, Mode{"causal", "dpm++_2m"},
                                           Mode{"causal", "euler"}),
                         [](const auto& info) {
                           std::string name =
                               std::string(info.param.coherence) + "_" + info.param.sampler;
                           std::erase(name, '+');
                           return name;
                         });

TEST_F(GivenFramesTest, EveryLayoutGivesTheSameBits) {
  for (const char* coherence : {"local", "causal"}) {
    SCOPED_TRACE(coherence);
    auto o = options(coherence, "dpm++_2m");
    o.request.input_video = video(kFrames).string();
    o.request.missing = "5-9,15";
    const auto alone = hash(o);
    for (const scheduling::Layout& layout :
         {scheduling::Layout{2, 1, false}, scheduling::Layout{1, 2, false}}) {
      o.layout = layout;
      EXPECT_EQ(hash(o), alone) << scheduling::to_string(layout);
    }
    o.layout = {};
    o.request.order = "throughput";
    EXPECT_EQ(hash(o), alone);
  }
}

TEST_F(GivenFramesTest, MissingFramesAreFilledBetweenKnownOnes) {
  auto o = options();
  o.request.input_video = video(kFrames).string();
  o.request.missing = "5-9,15";
  const auto first = run(o);
  o.request.seed = 12;
  const auto second = run(o);
  for (int f = 0; f < kFrames; ++f) {
    const bool missing = (f >= 5 && f <= 9) || f == 15;
    EXPECT_EQ(first[static_cast<std::size_t>(f)] != second[static_cast<std::size_t>(f)], missing)
        << f;
  }
}

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

TEST_F(GivenFramesTest, DoublingTheFrameRateFillsEveryOtherFrame) {
  auto o = options();
  o.request.input_video = video(10).string();
  o.request.input_every = 2;
  EXPECT_EQ(frames_of_input(o.request), 19);
  const auto first = run(o);
  o.request.seed = 12;
  const auto second = run(o);
  for (int f = 0; f < kFrames; ++f) {
    EXPECT_EQ(first[static_cast<std::size_t>(f)] == second[static_cast<std::size_t>(f)],
              f % 2 == 0) << f;
  }
}

TEST_F(GivenFramesTest, ExtensionBeginsWithTheLastFrames) {
  auto o = options("causal");
  o.request.extend = video(30).string();
  const auto extended = run(o);
  auto whole = options("causal");
  whole.request.frames = 30;
  whole.request.input_video = o.request.extend;
  whole.request.missing = "0";
  whole.latents_out = folder_ / "whole.safetensors";
  generate(whole, {});
  const model::SafetensorsFile file(*whole.latents_out);
  std::vector<float> all(static_cast<std::size_t>(file.find("latents")->shape.elements()));
  model::copy_to_float(*file.find("latents"), all);
  const auto n = all.size() / 30;
  for (std::size_t f = 0; f < 4; ++f) {  // the overlap
    const auto at = all.begin() + static_cast<std::ptrdiff_t>((26 + f) * n);
    EXPECT_EQ(extended[f], std::vector<float>(at, at + static_cast<std::ptrdiff_t>(n))) << f;
  }
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
      EXPECT_EQ(last_.report.at("evaluations"),
                4 * 4 * strength * (coherence[0] == 'c' ? o.request.resample : 1));
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

TEST_F(GivenFramesTest, AnInterruptedRunGoesOnWithTheSameFramesOnly) {
  auto o = options("local", "dpm++_2m");
  o.request.input_video = video(kFrames).string();
  o.request.missing = "5-9,15";
  const auto whole = hash(o);
  o.resume = folder_ / "job";
  o.checkpoint_steps = 1;
  o.failpoint = "error:rank=0:task=40:attempt=1";
  EXPECT_THAT(error_of(o), HasSubstr("failpoint"));
  o.failpoint.clear();
  o.layout = {2, 1, false};
  EXPECT_EQ(hash(o), whole);
  // Another video under the same name is another job.
  media::VideoOptions format;
  format.width = format.height = kSide;
  media::VideoWriter writer(o.request.input_video, format);
  for (int i = 0; i < kFrames; ++i) writer.write(picture(i + 1).view());
  writer.finish();
  EXPECT_THAT(error_of(o), HasSubstr("given_frames"));
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

TEST_F(GivenFramesTest, NothingIsLeftBesideTheOutput) {
  auto o = options();
  o.request.init_image = png(1).string();
  o.out = folder_ / "made" / "";
  fs::create_directories(folder_ / "made");
  generate(o, {});
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
    EXPECT_EQ(entry.path().filename().string().find("given"), std::string::npos) << entry.path();
  }
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
  EXPECT_THAT(refused([&](JobRequest& r) { r.keyframes = {{20, short_video}}; }),
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
  const std::vector<std::string> files = {
      write("empty.png", ""), write("text.png", "not a picture"),
      write("cut.png", good.substr(0, 60)), write("wide.png", wide),
      (folder_ / "absent.png").string(), folder_.path().string()};
  for (const auto& file : files) {
    auto o = options();
    o.request.init_image = file;
    EXPECT_THAT(error_of(o), HasSubstr(fs::path(file).filename().string())) << file;
  }
}

}  // namespace
}  // namespace seamwright::worker

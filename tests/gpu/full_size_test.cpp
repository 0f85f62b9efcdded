// Every op shape of full-size SD1.5 with motion modules and of its VAE, 16 frames at 512x512, on
// the GPU against sampled sums in double.
#include <gtest/gtest.h>

#include "model/cuda/cuda_backend.h"
#include "tests/unit/model/sampled_ops.h"

namespace seamwright::model::testing_support {
namespace {

constexpr std::int64_t kFrames = 16;
struct Level {
  std::int64_t side, channels;
};
constexpr Level kLevels[] = {{64, 320}, {32, 640}, {16, 1280}, {8, 1280}};

struct Case {
  DType type;
  double tolerance;
};

class FullSize : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (cuda_devices().empty()) GTEST_SKIP() << "this host has no CUDA device";
    backend_ = make_cuda_backend({.activation = GetParam().type});
  }
  void expect(const std::string& what, const Sampled& s) const {
    const double tolerance = GetParam().tolerance;
    EXPECT_TRUE(s.finite) << what;
    EXPECT_LE(s.relative_rms, tolerance) << what;
    EXPECT_LE(s.worst, 12 * tolerance) << what;
  }
  std::unique_ptr<Backend> backend_;
};

TEST_P(FullSize, ConvolutionsOfTheUNet) {
  struct Shapes {
    std::int64_t side, in, out;
    int stride;
  };
  for (const Shapes& s : std::initializer_list<Shapes>{
           {64, 4, 320, 1},     {64, 320, 320, 1},   {64, 320, 320, 2},  {32, 320, 640, 1},
           {32, 640, 640, 1},   {32, 640, 640, 2},   {16, 640, 1280, 1}, {16, 1280, 1280, 1},
           {16, 1280, 1280, 2}, {8, 1280, 1280, 1},  {8, 2560, 1280, 1}, {16, 2560, 1280, 1},
           {16, 1920, 1280, 1}, {32, 1280, 1280, 1}, {32, 1920, 640, 1}, {32, 1280, 640, 1},
           {32, 960, 640, 1},   {64, 640, 640, 1},   {64, 960, 320, 1},  {64, 640, 320, 1},
           {64, 320, 4, 1}}) {
    ConvSpec spec = ConvSpec::same(s.in, s.out, 3);
    spec.stride = s.stride;
    expect(fmt::format("{}x{} {} -> {} stride {}", s.side, s.side, s.in, s.out, s.stride),
           sample_conv(*backend_, spec, {kFrames, s.side, s.side, s.in}, s.in == s.out));
  }
}

TEST_P(FullSize, ConvolutionsOfTheVae) {
  struct Shapes {
    std::int64_t side, in, out;
  };
  for (const Shapes& s : std::initializer_list<Shapes>{{64, 4, 512},
                                                       {64, 512, 512},
                                                       {128, 512, 512},
                                                       {256, 512, 512},
                                                       {256, 512, 256},
                                                       {256, 256, 256},
                                                       {512, 256, 256},
                                                       {512, 256, 128},
                                                       {512, 128, 128},
                                                       {512, 128, 3}}) {
    expect(fmt::format("{}x{} {} -> {}", s.side, s.side, s.in, s.out),
           sample_conv(*backend_, ConvSpec::same(s.in, s.out, 3), {1, s.side, s.side, s.in},
                       s.in == s.out));
  }
  expect("down",
         sample_conv(*backend_, ConvSpec{128, 128, 3, 2, 0, 0, 1, 1}, {1, 512, 512, 128}, false));
}

TEST_P(FullSize, LinearLayers) {
  for (const Level& l : kLevels) {
    const std::int64_t rows = kFrames * l.side * l.side, c = l.channels;
    const std::string at = fmt::format("{} rows of {}", rows, c);
    expect(at, sample_linear(*backend_, rows, c, c, true));
    expect(at + " narrowing", sample_linear(*backend_, rows, 4 * c, c, true));
    expect(at + " gated", sample_geglu(*backend_, rows, c, 4 * c));
    expect(at + " prompt", sample_linear(*backend_, 77, 768, c, false));
  }
  expect("time", sample_linear(*backend_, 1, 320, 1280, false));
}

TEST_P(FullSize, Norms) {
  for (const Level& l : kLevels) {
    const Shape x{kFrames, l.side, l.side, l.channels};
    expect("group " + x.to_string(), sample_group_norm(*backend_, x, 32, NormExtent::kPerFrame));
    expect("group across " + x.to_string(),
           sample_group_norm(*backend_, x, 32, NormExtent::kAcrossFrames));
    expect("layer " + x.to_string(),
           sample_layer_norm(*backend_, kFrames * l.side * l.side, l.channels));
  }
  expect("group, joined",
         sample_group_norm(*backend_, {kFrames, 16, 16, 2560}, 32, NormExtent::kPerFrame));
  expect("group, pictures",
         sample_group_norm(*backend_, {1, 512, 512, 128}, 32, NormExtent::kPerFrame));
}

TEST_P(FullSize, Attention) {
  for (const Level& l : kLevels) {
    const std::int64_t s = l.side * l.side, d = l.channels / 8;
    const std::string at = fmt::format("{} queries, heads of {}", s, d);
    expect(at, sample_attention(*backend_, kFrames, s, s, kFrames, 8, d));
    expect(at + ", joined", sample_joined(*backend_, false, kFrames, s, 8, d));
    expect("frames of " + at + ", joined", sample_joined(*backend_, true, kFrames, s, 8, d));
    expect(at + ", prompt", sample_attention(*backend_, kFrames, s, 77, 1, 8, d));
    for (const std::int64_t frames : {std::int64_t{16}, std::int64_t{24}}) {
      expect(fmt::format("{} frames, {}", frames, at), sample_temporal(*backend_, frames, s, 8, d));
    }
  }
  expect("VAE", sample_attention(*backend_, 1, 4096, 4096, 1, 1, 512));
}

INSTANTIATE_TEST_SUITE_P(Cuda, FullSize,
                         ::testing::Values(Case{DType::kF32, 2e-5}, Case{DType::kBF16, 8e-3},
                                           Case{DType::kF16, 1.5e-3}),
                         [](const auto& info) { return std::string(to_string(info.param.type)); });

}  // namespace
}  // namespace seamwright::model::testing_support

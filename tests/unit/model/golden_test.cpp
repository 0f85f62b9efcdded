// Networks on the reference backend against numbers computed by the models' own library.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "model/nets/sinusoid.h"
#include "model/reference/reference.h"
#include "tests/unit/model/tiny_networks.h"

namespace seamwright::model::testing_support {
namespace {

const nlohmann::json& fixtures() {
  static const auto all = [] {
    std::ifstream file(std::string(SEAMWRIGHT_FIXTURES) + "/model-fixtures.json");
    return nlohmann::json::parse(file);
  }();
  return all;
}

void expect_fixture(const std::string& name, const std::vector<double>& got,
                    double tolerance = 1e-6) {
  SCOPED_TRACE(name);
  const auto& want = fixtures().at(name);
  ASSERT_EQ(got.size(), want.at("n").get<std::size_t>());
  double sum = 0, absolute = 0;
  for (double v : got) {
    sum += v;
    absolute += std::abs(v);
  }
  const auto n = static_cast<double>(got.size());
  EXPECT_NEAR(sum / n, want.at("sum").get<double>() / n, tolerance);
  EXPECT_NEAR(absolute / n, want.at("abs_mean").get<double>(), tolerance);
  const auto first = want.at("first").get<std::vector<double>>();
  const auto last = want.at("last").get<std::vector<double>>();
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_NEAR(got[i], first[i], tolerance) << "element " << i;
  }
  for (std::size_t i = 0; i < last.size(); ++i) {
    EXPECT_NEAR(got[got.size() - last.size() + i], last[i], tolerance) << "from the end: " << i;
  }
}

class Golden : public ::testing::Test {
 protected:
  std::vector<double> read(ConstView t) { return values_of(*backend_, t); }
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  FormulaLoad load_{*backend_};
  Exec exec_{*backend_, heap()};
};

std::vector<double> host_values(const Tensor& t) {
  const auto* data = t.view().as<float>();
  return {data, data + t.shape().elements()};
}

TEST_F(Golden, TimestepFeaturesPutCosinesFirst) {
  expect_fixture("timestep_embed_dim8_t10", host_values(timestep_features(10, 8)));
}

TEST_F(Golden, MotionPositionsAlternateSineAndCosine) {
  expect_fixture("sinusoid_pe_c8_len4", host_values(motion_position_table(4, 8)));
}

TEST_F(Golden, MotionModuleNormalisesAcrossFrames) {
  expect_fixture("motion_module_c8_h2_g4_f5",
                 run_motion_module(load_, NormExtent::kAcrossFrames));
}

TEST_F(Golden, MotionModuleNormalisesPerFrame) {
  expect_fixture("motion_module_per_frame_norm", run_motion_module(load_, NormExtent::kPerFrame));
}

TEST_F(Golden, UNet2DMatches) {
  expect_fixture("unet2d_tiny_heads4", run_unet(load_, tiny_unet2d(), 1));
}

TEST_F(Golden, UNetMotionWithMidModuleMatches) {
  expect_fixture("unet_motion_tiny_mid1", run_unet(load_, tiny_unet_motion(true), 4));
}

TEST_F(Golden, UNetMotionWithoutMidModuleMatches) {
  expect_fixture("unet_motion_tiny_mid0", run_unet(load_, tiny_unet_motion(false), 4));
}

TEST_F(Golden, VaeEncodesAndDecodes) {
  const AutoencoderKL vae(load_.context, tiny_vae());
  const Tensor moments = vae.moments(exec_, ops::upload(exec_, fixture_input({3, 1, 16, 16})));
  expect_fixture("vae_tiny_encode_moments", fixture_order(read(moments), moments.shape()));
  const Tensor pixels = vae.decode(exec_, ops::upload(exec_, fixture_input({4, 1, 8, 8})));
  expect_fixture("vae_tiny_decode", fixture_order(read(pixels), pixels.shape()));
}

TEST_F(Golden, VaeEncodesTheMeanTimesTheScalingFactor) {
  VaeConfig config = tiny_vae();
  config.scaling_factor = 0.25;
  config.shift_factor = 0.5;
  const AutoencoderKL vae(load_.context, config);
  const Tensor pixels = ops::upload(exec_, fixture_input({3, 2, 16, 16}));
  const auto moments = read(vae.moments(exec_, pixels));
  const auto latents = read(vae.encode(exec_, pixels));
  ASSERT_EQ(moments.size(), 2 * latents.size());
  for (std::size_t i = 0; i < latents.size(); ++i) {
    EXPECT_NEAR(latents[i], (moments[i / 4 * 8 + i % 4] - 0.5) * 0.25, 1e-12);
  }
}

TEST_F(Golden, TinyVaeEncodesAndDecodes) {
  const AutoencoderTiny vae(load_.context, tiny_taesd());
  const Tensor latents = vae.encode(exec_, ops::upload(exec_, fixture_input({3, 1, 16, 16})));
  expect_fixture("taesd_tiny_encode", fixture_order(read(latents), latents.shape()));
  const Tensor pixels = vae.decode(exec_, ops::upload(exec_, fixture_input({4, 1, 8, 8})));
  expect_fixture("taesd_tiny_decode", fixture_order(read(pixels), pixels.shape()));
}

}  // namespace
}  // namespace seamwright::model::testing_support

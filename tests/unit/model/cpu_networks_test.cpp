// Whole small networks on the CPU backend against the reference backend: fp32 within rounding, bf16
// within what its storage allows, and not a bit of difference between thread counts.
#include <cmath>
#include <deque>

#include "base/rng.h"
#include "model/cpu/cpu_backend.h"
#include "model/reference/reference.h"
#include "tests/unit/model/tiny_networks.h"

namespace seamwright::model::testing_support {
namespace {

struct NetworkCase {
  std::string name;
  TinyNetwork run;
  double f32_tolerance, bf16_tolerance;  // RMS error relative to the RMS of the reference
};

std::vector<double> decode(FormulaLoad& load) {
  const AutoencoderKL vae(load.context, tiny_vae());
  Exec exec{load.context.backend, heap()};
  return values_of(exec.backend, vae.decode(exec, ops::upload(exec, fixture_input({4, 1, 8, 8}))));
}

std::vector<double> decode_tiny(FormulaLoad& load) {
  const AutoencoderTiny vae(load.context, tiny_taesd());
  Exec exec{load.context.backend, heap()};
  return values_of(exec.backend, vae.decode(exec, ops::upload(exec, fixture_input({4, 1, 8, 8}))));
}

// Normal weights, as trained networks have: the fixtures' smooth ones make a U-Net amplify rounding
// a hundredfold, which says nothing about bf16.
class NormalSource final : public WeightSource {
 public:
  std::optional<ConstView> find(std::string_view) const override { return std::nullopt; }
  std::optional<ConstView> find_as(std::string_view name, const Shape& shape) const override {
    if (name.ends_with(".pe")) return std::nullopt;
    Tensor& t = made_.emplace_back(heap(), DType::kF32, shape);
    auto* data = t.view().as<float>();
    const auto n = static_cast<std::size_t>(shape.elements());
    const auto drawn = static_cast<std::int64_t>(made_.size());
    fill_normal({.seed = 11, .purpose = NoisePurpose::kTest, .frame = drawn}, {data, n});
    const bool matrix = shape.rank() > 1, bias = name.ends_with("bias");
    const double fan_in = static_cast<double>(n) / static_cast<double>(shape[0]);
    const auto scale = static_cast<float>(matrix ? 1 / std::sqrt(fan_in) : 0.1);
    for (std::size_t i = 0; i < n; ++i) {
      data[i] = data[i] * scale + (matrix || bias ? 0.0F : 1.0F);
    }
    return t.view();
  }
  std::vector<std::string> names() const override { return {}; }
  std::string description() const override { return "normal weights"; }

 private:
  mutable std::deque<Tensor> made_;
};

std::vector<double> run_normal_unet(Backend& backend, UNetConfig config, std::int64_t frames) {
  config.norm_num_groups = 4;
  const NormalSource source;
  WeightLedger ledger(source);
  LoadContext load{ledger, backend};
  const UNet unet(config, load, nullptr);
  Exec exec{backend, heap()};
  PromptContext context = fixture_context(frames);
  const Tensor sample = ops::upload(exec, fixture_input({4, frames, 16, 16}));
  return values_of(backend, unet.predict(exec, sample, {.timestep = 10, .context = &context}));
}

class CpuNetworks : public ::testing::TestWithParam<NetworkCase> {
 protected:
  static std::vector<double> run_on(std::unique_ptr<Backend> backend) {
    FormulaLoad load{*backend};
    return GetParam().run(load);
  }
  static double error_of(const std::vector<double>& got, const std::vector<double>& expected) {
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      error += (got[i] - expected[i]) * (got[i] - expected[i]);
      norm += expected[i] * expected[i];
    }
    return std::sqrt(error / norm);
  }
};

TEST_P(CpuNetworks, AgreeWithTheReference) {
  const auto expected = run_on(make_reference_backend());
  EXPECT_LE(error_of(run_on(make_cpu_backend(DType::kF32, 2)), expected), GetParam().f32_tolerance);
  EXPECT_LE(error_of(run_on(make_cpu_backend(DType::kBF16, 2)), expected),
            GetParam().bf16_tolerance);
}

TEST_P(CpuNetworks, DoNotDependOnTheNumberOfThreads) {
  for (DType type : {DType::kF32, DType::kBF16}) {
    const auto one = run_on(make_cpu_backend(type, 1));
    for (int threads : {2, 3, 4}) {
      EXPECT_EQ(run_on(make_cpu_backend(type, threads)), one)
          << to_string(type) << ", " << threads << " threads";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tiny, CpuNetworks,
    ::testing::Values(NetworkCase{"unet2d",
                                  [](FormulaLoad& load) {
                                    return run_normal_unet(load.context.backend, tiny_unet2d(), 1);
                                  },
                                  1e-5, 3e-2},
                      NetworkCase{"unet_motion",
                                  [](FormulaLoad& load) {
                                    return run_normal_unet(load.context.backend,
                                                           tiny_unet_motion(true), 4);
                                  },
                                  1e-5, 3e-2},
                      NetworkCase{"motion_module",
                                  [](FormulaLoad& load) {
                                    return run_motion_module(load, NormExtent::kAcrossFrames);
                                  },
                                  1e-5, 3e-2},
                      NetworkCase{"vae_decoder", decode, 1e-4, 6e-2},
                      NetworkCase{"tiny_vae_decoder", decode_tiny, 1e-4, 3e-2}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace seamwright::model::testing_support

#include "model/sampling/sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "tests/unit/model/samplers.h"
#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

using ::testing::HasSubstr;
using Values = std::vector<float>;

Values by_formula(std::size_t n, const std::function<double(double)>& formula) {
  Values out(n);
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(formula(static_cast<double>(i)));
  }
  return out;
}

// ---- Step by step against diffusers (tools/reference/samplers.py) ----

Values initial(std::size_t n) {
  return by_formula(n, [](double i) { return std::sin(0.05 * i + 0.3); });
}
Values model_output(std::size_t n, int k) {
  return by_formula(n, [k](double i) { return std::sin(0.37 * i + 1.3 * k); });
}
Values unit_noise(std::size_t n, int k) {
  return by_formula(n, [k](double i) { return std::cos(0.71 * i + 2.1 * k); });
}

const Json& reference_cases() {
  static const Json cases = read_json_file(std::string(SEAMWRIGHT_FIXTURES) + "/samplers.json",
                                           {.max_bytes = 4U << 20, .max_depth = 8});
  return cases;
}

// Largest difference relative to the largest magnitude of the wanted values.
double relative_difference(std::span<const float> found, const Json& wanted) {
  EXPECT_EQ(found.size(), wanted.size());
  double difference = 0;
  double magnitude = 1e-3;
  for (std::size_t i = 0; i < std::min(found.size(), wanted.size()); ++i) {
    const auto value = wanted[i].get<double>();
    difference = std::max(difference, std::abs(static_cast<double>(found[i]) - value));
    magnitude = std::max(magnitude, std::abs(value));
  }
  return difference / magnitude;
}

class AgainstDiffusers : public ::testing::TestWithParam<std::size_t> {};

TEST_P(AgainstDiffusers, EveryStepAgrees) {
  const Json& wanted = reference_cases()[GetParam()];
  const std::string name = wanted["sampler"];
  SamplerConfig config = sampler_config(wanted["config"].dump(), name);
  if (config.kind == SamplerKind::kDpmPp2m)
    config.solver_order = wanted["config"].value("solver_order", 2);
  config.eta = wanted.value("eta", 0.0);
  const int steps = wanted["steps"];
  const int first = wanted.value("first_step", 0);
  const auto made = make_sampler(config, steps, first);

  const auto times = wanted["timesteps"];
  ASSERT_EQ(made->steps(), steps);
  ASSERT_EQ(times.size(), static_cast<std::size_t>(steps));
  for (int k = 0; k < steps; ++k) {
    const auto t = times[static_cast<std::size_t>(k)].get<double>();
    EXPECT_NEAR(made->timestep(k), t, 2e-5 * std::max(1.0, std::abs(t))) << "step " << k;
  }
  const auto init = wanted["init_noise_sigma"].get<double>();
  EXPECT_NEAR(made->init_noise_sigma(), init, 1e-6 * init);
  if (wanted.contains("sigmas")) {
    for (int k = 0; k <= steps; ++k) {
      const double ratio =
          static_cast<double>(made->sigma(k)) / static_cast<double>(made->alpha(k));
      const auto sigma = wanted["sigmas"][static_cast<std::size_t>(k)].get<double>();
      EXPECT_NEAR(ratio, sigma, 2e-6 * sigma) << "level " << k;
    }
  }

  const std::size_t n = wanted["states"][0].size();
  Values x = initial(n);
  Values noised(n);
  made->add_noise(first, x, unit_noise(n, 0), noised);
  EXPECT_LT(relative_difference(noised, wanted["noised"]), 1e-6);
  for (float& value : x) value *= made->init_noise_sigma();
  Values history(n, std::nanf(""));  // must not be read before it is written
  Values scaled(n);
  for (int k = first; k < steps; ++k) {
    const auto at = static_cast<std::size_t>(k - first);
    made->scale_input(k, x, scaled);
    const Json& wanted_input = wanted.contains("scaled") ? wanted["scaled"][at]
                               : at == 0                 ? Json()
                                                         : wanted["states"][at - 1];
    if (!wanted_input.is_null()) {
      EXPECT_LT(relative_difference(scaled, wanted_input), 1e-5) << "input of step " << k;
    }
    made->step(k, x, model_output(n, k), unit_noise(n, k), history, x);
    // Rounding alone reaches 8.5e-7.
    EXPECT_LT(relative_difference(x, wanted["states"][at]), 2e-6) << "after step " << k;
  }
}

std::string case_name(const ::testing::TestParamInfo<std::size_t>& info) {
  const Json& wanted = reference_cases()[info.param];
  std::string text = wanted["sampler"].get<std::string>() + "_" +
                     std::to_string(wanted["steps"].get<int>()) + "_case" +
                     std::to_string(info.param);
  for (char& c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return text;
}

INSTANTIATE_TEST_SUITE_P(Samplers, AgainstDiffusers,
                         ::testing::Range(std::size_t{0}, reference_cases().size()), case_name);

// ---- The loops of the library's own tests, framework-free ----

// sample = (0..767)/768 seen as [3, 8, 8, 4]; a sum over it does not depend on the permutation.
// model(x, t) = x * t / (t + 1).
struct LoopResult {
  double sum;
  double mean;
};

LoopResult run_loop(const Sampler& s) {
  Values x = by_formula(768, [](double i) { return i / 768; });
  for (float& value : x) value *= s.init_noise_sigma();
  Values history(x.size());
  Values input(x.size());
  Values output(x.size());
  for (int k = 0; k < s.steps(); ++k) {
    s.scale_input(k, x, input);
    if (s.init_noise_sigma() != 1) x = input;  // as in the library's own Euler test
    const float t = s.timestep(k);
    for (std::size_t i = 0; i < x.size(); ++i) output[i] = input[i] * t / (t + 1);
    s.step(k, x, output, {}, history, x);
  }
  const double sum = std::accumulate(x.begin(), x.end(), 0.0, [](double total, float value) {
    return total + std::abs(static_cast<double>(value));
  });
  return {sum, sum / static_cast<double>(x.size())};
}

TEST(SamplerLoop, DdimMatchesTheLibrarysNumbers) {
  const LoopResult plain = run_loop(*sampler("{}", "ddim", 10));
  EXPECT_NEAR(plain.sum, 172.0067, 1e-2);
  EXPECT_NEAR(plain.mean, 0.223967, 1e-4);
  EXPECT_NEAR(run_loop(*sampler(R"({"prediction_type": "v_prediction"})", "ddim", 10)).sum, 52.5302,
              1e-2);
  EXPECT_NEAR(
      run_loop(*sampler(R"({"set_alpha_to_one": true, "beta_start": 0.01})", "ddim", 10)).sum,
      149.8295, 1e-2);
  EXPECT_NEAR(
      run_loop(*sampler(R"({"set_alpha_to_one": false, "beta_start": 0.01})", "ddim", 10)).sum,
      149.0784, 1e-2);
}

TEST(SamplerLoop, EulerMatchesTheLibrarysNumbers) {
  const LoopResult plain = run_loop(*sampler(R"({"num_train_timesteps": 1100})", "euler", 10));
  EXPECT_NEAR(plain.sum, 10.0807, 1e-2);
  EXPECT_NEAR(plain.mean, 0.0131, 1e-3);
  const LoopResult karras = run_loop(
      *sampler(R"({"num_train_timesteps": 1100, "use_karras_sigmas": true})", "euler", 10));
  EXPECT_NEAR(karras.sum, 124.5230, 1e-2);
  EXPECT_NEAR(karras.mean, 0.16214, 1e-3);
}

TEST(SamplerLoop, DpmMatchesTheLibrarysNumbers) {
  const std::string_view base = R"("lower_order_final": false, "final_sigmas_type": "sigma_min")";
  const auto run = [&](std::string_view more, std::string_view name) {
    return run_loop(*sampler(fmt::format("{{{}{}}}", base, more), name, 10)).mean;
  };
  EXPECT_NEAR(run("", "dpm++_2m"), 0.3301, 1e-3);
  EXPECT_NEAR(run(R"(, "prediction_type": "v_prediction")", "dpm++_2m"), 0.2251, 1e-3);
  EXPECT_NEAR(run(R"(, "prediction_type": "v_prediction")", "dpm++_2m_karras"), 0.2096, 1e-3);
}

TEST(SamplerLoop, LcmInOneStepMatchesTheLibrarysNumbers) {
  const LoopResult one = run_loop(*sampler("{}", "lcm", 1));
  EXPECT_NEAR(one.sum, 18.7097, 1e-3);
  EXPECT_NEAR(one.mean, 0.0244, 1e-4);
}

// ---- Published check values ----

constexpr std::string_view kScaled =
    R"({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "steps_offset": 1, "timestep_spacing": "leading"})";

void expect_levels(const Sampler& s, const std::vector<double>& sigmas) {
  ASSERT_EQ(sigmas.size(), static_cast<std::size_t>(s.steps()) + 1);
  for (int k = 0; k <= s.steps(); ++k) {
    const double ratio = static_cast<double>(s.sigma(k)) / static_cast<double>(s.alpha(k));
    EXPECT_NEAR(ratio, sigmas[static_cast<std::size_t>(k)],
                1e-6 * sigmas[static_cast<std::size_t>(k)]);
  }
}

TEST(SamplerSchedule, EulerHasThePublishedSigmas) {
  const auto leading = sampler(kScaled, "euler", 10);
  expect_levels(*leading, {8.390687, 5.134433, 3.347764, 2.292855, 1.623693, 1.168216, 0.8356532,
                           0.5740507, 0.3461873, 0.04131448, 0});
  EXPECT_NEAR(leading->init_noise_sigma(), 8.450067, 1e-5);
}

TEST(SamplerSchedule, KarrasDpmHasThePublishedSigmasAndTimesteps) {
  const auto karras = sampler(kScaled, "dpm++_2m_karras", 10);
  expect_levels(*karras, {14.61465, 9.102936, 5.478401, 3.168611, 1.749423, 0.9140764, 0.4469209,
                          0.2013998, 0.08191105, 0.02916753, 0});
  const std::vector<float> times{999, 916, 815, 687, 523, 327, 146, 41, 7, 0};
  for (int k = 0; k < 10; ++k) {
    EXPECT_EQ(karras->timestep(k), times[static_cast<std::size_t>(k)]);
  }
}

TEST(SamplerSchedule, LcmPicksThePublishedTimesteps) {
  const auto times = [](int steps) {
    const auto lcm = sampler("{}", "lcm", steps);
    std::vector<float> out;
    for (int k = 0; k < steps; ++k) out.push_back(lcm->timestep(k));
    return out;
  };
  EXPECT_EQ(times(1), (std::vector<float>{999}));
  EXPECT_EQ(times(4), (std::vector<float>{999, 759, 499, 259}));
  EXPECT_EQ(times(6), (std::vector<float>{999, 839, 679, 499, 339, 179}));
}

TEST(SamplerSchedule, LastLevelIsCleanAndLevelsAreOrdered) {
  for (const std::string_view name : sampler_names()) {
    const auto s = sampler(kScaled, name, 12);
    EXPECT_EQ(s->alpha(12), 1) << name;
    EXPECT_EQ(s->sigma(12), 0) << name;
    for (int k = 0; k < 12; ++k) EXPECT_GT(s->sigma(k), s->sigma(k + 1)) << name;
  }
}

// ---- Properties ----

TEST(Sampler, CleanEstimateAndPredictionAreInverse) {
  for (const std::string_view name : sampler_names()) {
    for (const char* prediction : {"epsilon", "v_prediction"}) {
      const auto s = sampler(
          fmt::format(R"({{"beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "{}"}})",
                      prediction),
          name, 8);
      for (int k = 0; k < 8; ++k) {
        const Values x = initial(16);
        const Values e = model_output(16, k);
        Values x0(16);
        Values back(16);
        s->predict_x0(k, x, e, x0);
        s->predict_output(k, x, x0, back);
        for (std::size_t i = 0; i < 16; ++i) {
          EXPECT_NEAR(back[i], e[i], 2e-3) << name << " " << prediction << " step " << k;
        }
      }
    }
  }
}

TEST(Sampler, StepFromUnchangedCleanEstimateEqualsThePlainStep) {
  for (const std::string_view name : sampler_names()) {
    const auto s =
        sampler(R"({"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": false})", name, 8);
    const Values x = initial(16);
    Values x0(16), plain(16), from_x0(16);
    Values history_a(16, 0.25F), history_b(16, 0.25F);
    for (int k = 0; k < 8; ++k) {
      s->predict_x0(k, x, model_output(16, k), x0);
      s->step(k, x, model_output(16, k), unit_noise(16, k), history_a, plain);
      s->step_from_x0(k, x, x0, unit_noise(16, k), history_b, from_x0);
      for (std::size_t i = 0; i < 16; ++i) {
        EXPECT_NEAR(plain[i], from_x0[i], 2e-4 * std::max(1.0F, std::abs(plain[i])))
            << name << " step " << k;
      }
    }
  }
}

TEST(Sampler, NoisingACleanEstimateAndPredictingItAgainIsTheIdentity) {
  for (const std::string_view name : sampler_names()) {
    const auto s = sampler(kScaled, name, 8);
    const Values x0 = initial(16);
    const Values noise = unit_noise(16, 3);
    Values x(16), found(16);
    s->add_noise(4, x0, noise, x);
    s->predict_x0(4, x, noise, found);  // the true noise is the true prediction
    for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(found[i], x0[i], 1e-5) << name;
  }
}

TEST(Sampler, ResultsDoNotDependOnHowTheLatentIsSplit) {
  for (const std::string_view name : sampler_names()) {
    const auto s = sampler(kScaled, name, 4);
    const Values x = initial(33), e = model_output(33, 1), noise = unit_noise(33, 1);
    Values whole(33), parts(33), history_a(33, 0.5F), history_b(33, 0.5F);
    s->step(1, x, e, noise, history_a, whole);
    for (std::size_t begin = 0; begin < 33; begin += 11) {
      const auto part = [begin](auto& values) { return std::span(values).subspan(begin, 11); };
      s->step(1, part(x), part(e), part(noise), part(history_b), part(parts));
    }
    EXPECT_EQ(whole, parts) << name;
    EXPECT_EQ(history_a, history_b) << name;
  }
}

TEST(Sampler, OnlyTheStochasticOnesAskForNoise) {
  for (const std::string_view name : sampler_names()) {
    const auto s = sampler(kScaled, name, 4);
    const bool expected = name == "euler_a" || name == "lcm";
    EXPECT_EQ(s->stochastic(0), expected) << name;
    EXPECT_FALSE(s->stochastic(3)) << name << ": nothing is added to the result";
    EXPECT_EQ(s->uses_history(), name.starts_with("dpm")) << name;
    Values x = initial(4), history(4);
    if (expected) {
      EXPECT_THROW(s->step(0, x, x, {}, history, x), Error) << name;
    } else {
      EXPECT_NO_THROW(s->step(0, x, x, {}, history, x)) << name;
    }
  }
  SamplerConfig config = sampler_config(kScaled, "ddim");
  config.eta = 1;
  EXPECT_TRUE(make_sampler(config, 4)->stochastic(0));
}

TEST(Sampler, ClippingMovesTheStepButNotTheCleanEstimate) {
  const auto clipping = sampler(R"({"clip_sample": true})", "ddim", 4);
  const auto free = sampler(R"({"clip_sample": false})", "ddim", 4);
  const Values x(4, 3.0F), e(4, -1.0F);
  Values a(4), b(4);
  clipping->predict_x0(0, x, e, a);
  free->predict_x0(0, x, e, b);
  EXPECT_EQ(a, b);
  clipping->step(0, x, e, {}, {}, a);
  free->step(0, x, e, {}, {}, b);
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace seamwright::model

// Which sampler a scheduler_config.json asks for, and what is refused.
#include <gmock/gmock.h>

#include "tests/unit/model/samplers.h"

namespace seamwright::model {
namespace {

using ::testing::HasSubstr;

// ---- Reading scheduler_config.json ----
TEST(SamplerConfig, MissingKeysGetTheDefaultOfTheClassInUse) {
  EXPECT_TRUE(sampler_config("{}", "ddim").clip_sample);
  EXPECT_FALSE(sampler_config("{}", "lcm").clip_sample);
  EXPECT_EQ(sampler_config("{}", "ddim").spacing, TimestepSpacing::kLeading);
  EXPECT_EQ(sampler_config("{}", "euler").spacing, TimestepSpacing::kLinspace);
  EXPECT_EQ(sampler_config("{}", "lcm").betas, BetaSchedule::kScaledLinear);
  EXPECT_EQ(sampler_config("{}", "ddim").beta_end, 0.02);
}

TEST(SamplerConfig, FileDecidesUnlessANameIsGiven) {
  const char* file = R"({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": true,
                         "beta_schedule": "linear", "lambda_min_clipped": -Infinity})";
  EXPECT_EQ(sampler_config(file).kind, SamplerKind::kDpmPp2m);
  EXPECT_TRUE(sampler_config(file).karras);
  EXPECT_FALSE(sampler_config(file, "dpm++_2m").karras);
  EXPECT_EQ(sampler_config(R"({"solver_order": 3})", "dpm++_2m").solver_order, 2);
  EXPECT_EQ(sampler_config(file, "ddim").kind, SamplerKind::kDdim);
  EXPECT_EQ(sampler_config(R"({"_class_name": "EulerAncestralDiscreteScheduler"})").kind,
            SamplerKind::kEulerAncestral);
}

TEST(SamplerConfig, StableDiffusionsOwnSchedulerAsksForAChoice) {
  const Error error = error_of([] { sampler_config(R"({"_class_name": "PNDMScheduler"})"); });
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error.what(), HasSubstr("ddim"));
  EXPECT_EQ(sampler_config(R"({"_class_name": "PNDMScheduler"})", "ddim").kind, SamplerKind::kDdim);
}

struct BadSampler {
  const char* name;
  const char* file;
  const char* sampler;
  int steps;
  const char* message;
};

class RefusedSampler : public ::testing::TestWithParam<BadSampler> {};

TEST_P(RefusedSampler, SaysWhy) {
  const BadSampler& bad = GetParam();
  const Error error = error_of([&] { sampler(bad.file, bad.sampler, bad.steps); });
  EXPECT_THAT(error.what(), HasSubstr(bad.message));
}

INSTANTIATE_TEST_SUITE_P(
    Each, RefusedSampler,
    ::testing::Values(
        BadSampler{"UnknownName", "{}", "heun", 10, "'heun'"},
        BadSampler{"ZeroSteps", "{}", "ddim", 0, "between 1 and 1000"},
        BadSampler{"NegativeSteps", "{}", "euler", -3, "between 1 and 1000"},
        BadSampler{"TooManySteps", "{}", "ddim", 1001, "between 1 and 1000"},
        BadSampler{"TooManyForLcm", "{}", "lcm", 51, "at most 50"},
        BadSampler{"OffsetBeyondTraining", R"({"steps_offset": 1})", "ddim", 1000, "timestep 1000"},
        BadSampler{"Thresholding", R"({"thresholding": true})", "ddim", 10, "thresholding"},
        BadSampler{"UnknownSpacing", R"({"timestep_spacing": "log"})", "ddim", 10, "leading"},
        BadSampler{"UnknownBetas", R"({"beta_schedule": "sigmoid"})", "ddim", 10, "scaled_linear"},
        BadSampler{"NegativeBeta", R"({"beta_start": -1})", "ddim", 10, "beta_start"},
        BadSampler{"BetaOne", R"({"beta_end": 1})", "ddim", 10, "beta_end"},
        BadSampler{"NoTrainingSteps", R"({"num_train_timesteps": 0})", "ddim", 10,
                   "num_train_timesteps"},
        BadSampler{"FewTrainedBetas", R"({"trained_betas": [0.1, 0.2]})", "ddim", 2,
                   "num_train_timesteps"},
        BadSampler{"NoiseLongBeforeTheEnd", R"({"num_train_timesteps": 49000})", "dpm++_2m_karras",
                   10, "must stay between 1.1754944e-38 and 1"},
        BadSampler{"NoNoiseAtAll", R"({"beta_start": 1e-8, "beta_end": 1e-8})", "euler", 10,
                   "alpha_bar = 1"},
        BadSampler{"FlowPrediction", R"({"prediction_type": "flow_prediction"})", "dpm++_2m", 10,
                   "prediction_type"},
        BadSampler{"SdeSolver", R"({"algorithm_type": "sde-dpmsolver++"})", "dpm++_2m", 10,
                   "algorithm_type"},
        BadSampler{"ThirdOrder",
                   R"({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3})", "", 10,
                   "solver_order"},
        BadSampler{"ExponentialSigmas", R"({"use_exponential_sigmas": true})", "euler", 10,
                   "use_exponential_sigmas"},
        BadSampler{"SigmaRange", R"({"sigma_min": 2, "sigma_max": 1})", "euler", 10, "sigma_min"},
        BadSampler{"SampleForAncestral", R"({"prediction_type": "sample"})", "euler_a", 10,
                   "euler"},
        BadSampler{"PureNoiseEpsilon",
                   R"({"rescale_betas_zero_snr": true, "timestep_spacing": "trailing"})", "ddim",
                   10, "v_prediction"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Strength, ChoosesTheFirstStepAsDiffusersDoes) {
  EXPECT_EQ(first_step_for_strength(50, 1.0), 0);
  EXPECT_EQ(first_step_for_strength(50, 0.8), 10);
  EXPECT_EQ(first_step_for_strength(10, 0.55), 5);
  EXPECT_EQ(first_step_for_strength(10, 0.1), 9);
  EXPECT_THROW(first_step_for_strength(10, 0.05), Error);
  EXPECT_THROW(first_step_for_strength(10, 0), Error);
  EXPECT_THROW(first_step_for_strength(10, 1.01), Error);
  EXPECT_THROW(first_step_for_strength(10, std::nan("")), Error);
}

}  // namespace
}  // namespace seamwright::model

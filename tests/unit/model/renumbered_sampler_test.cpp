// Schedules that start late or visit levels several times, against the sampler inside.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "model/sampling/sampler.h"

namespace seamwright::model {
namespace {

SamplerConfig config_of(std::string_view name) {
  return read_sampler_config(
      Config(Json{{"beta_start", 0.00085}, {"beta_end", 0.012}, {"clip_sample", false}}, "test"),
      name);
}

std::vector<float> wave(float phase) {
  std::vector<float> out(12);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::sin(phase + static_cast<float>(i));
  return out;
}

class EverySampler : public ::testing::TestWithParam<std::string_view> {};

TEST_P(EverySampler, ALateStartIsTheTailOfTheSchedule) {
  const auto config = config_of(GetParam());
  const auto inner = make_sampler(config, 8, 3);
  const auto late = from_first_step(make_sampler(config, 8, 3));
  ASSERT_EQ(late->steps(), 5);
  auto a = wave(0), b = a;
  std::vector<float> history_a(12), history_b(12);
  for (int s = 0; s < 5; ++s) {
    EXPECT_EQ(late->timestep(s), inner->timestep(s + 3));
    EXPECT_EQ(late->alpha(s), inner->alpha(s + 3));
    EXPECT_EQ(late->sigma(s), inner->sigma(s + 3));
    EXPECT_EQ(late->stochastic(s), inner->stochastic(s + 3));
    const auto output = wave(1.0F + static_cast<float>(s)), noise = wave(2);
    inner->step(s + 3, a, output, noise, history_a, a);
    late->step(s, b, output, noise, history_b, b);
    EXPECT_EQ(a, b);
  }
  EXPECT_EQ(late->sigma(5), 0);
}

TEST_P(EverySampler, RoundsReturnToTheirLevelAndTheLastOneSteps) {
  const auto config = config_of(GetParam());
  const auto inner = make_sampler(config, 4);
  const auto rounds = with_rounds(make_sampler(config, 4), 3);
  ASSERT_EQ(rounds->steps(), 12);
  const auto x = wave(0), output = wave(1), noise = wave(2);
  for (int s = 0; s < 12; ++s) {
    const int k = s / 3;
    EXPECT_EQ(rounds->timestep(s), inner->timestep(k));
    EXPECT_EQ(rounds->sigma(s), inner->sigma(k));
    std::vector<float> expected(12), got(12), history_a(12, 0.25F), history_b(12, 0.25F);
    if (s % 3 == 2) {
      inner->step(k, x, output, noise, history_a, expected);
      EXPECT_EQ(rounds->stochastic(s), inner->stochastic(k));
    } else {
      std::vector<float> clean(12);
      inner->predict_x0(k, x, output, clean);
      inner->add_noise(k, clean, noise, expected);
      EXPECT_TRUE(rounds->stochastic(s));
    }
    rounds->step(s, x, output, noise, history_b, got);
    EXPECT_EQ(got, expected) << s;
    EXPECT_EQ(history_a, history_b) << s;
  }
}

INSTANTIATE_TEST_SUITE_P(Names, EverySampler, ::testing::ValuesIn(sampler_names()),
                         [](const auto& info) {
                           std::string name(info.param);
                           std::erase(name, '+');
                           return name;
                         });

}  // namespace
}  // namespace seamwright::model

// DPM-Solver++ 2M (Lu et al. 2022), multistep midpoint, with or without Karras sigmas.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/sampling/noise_schedule.h"

namespace seamwright::model {
namespace {

// One level's scaling in fp32: x = alpha * clean + sigma * noise, lambda = ln(alpha / sigma).
struct Level {
  float alpha;
  float sigma;
  float lambda;
};

Level level_of(float s) {
  const float alpha = 1.0F / std::sqrt(s * s + 1.0F);
  const float sigma = s * alpha;
  return {alpha, sigma, std::log(alpha) - std::log(sigma)};
}

class DpmPp2m final : public Sampler {
 public:
  DpmPp2m(const SamplerConfig& config, int steps, int first_step) {
    prediction_ = config.prediction;
    first_step_ = first_step;
    second_order_ = config.solver_order >= 2;
    first_order_at_end_ = config.euler_at_final || (config.lower_order_final && steps < 15) ||
                          !config.final_sigma_min;
    auto bars = cumulative_alphas(config);
    if (config.rescale_zero_snr) bars.back() = kSmallestAlpha;
    const auto trained = trained_sigmas(bars);
    std::vector<double> times;
    if (config.karras) {
      // Over the whole trained range, whatever the spacing.
      const auto chosen =
          karras_sigmas(config.sigma_min.value_or(static_cast<double>(trained.front())),
                        config.sigma_max.value_or(static_cast<double>(trained.back())), steps);
      for (const double sigma : chosen) {
        const double t = timestep_of_sigma(sigma, trained);
        times.push_back(config.betas == BetaSchedule::kSquaredCosine ? std::trunc(t)
                                                                     : round_even(t));
        ratios_.push_back(static_cast<float>(sigma));
      }
    } else {
      times = dpm_timesteps(config, steps, bars);
      for (const std::size_t at : timestep_indices(times, config)) ratios_.push_back(trained[at]);
    }
    ratios_.push_back(config.final_sigma_min ? trained.front() : 0.0F);
    timesteps_.assign(times.begin(), times.end());
    for (const float s : ratios_) {
      const auto wide = static_cast<double>(s);
      const double alpha = 1 / std::sqrt(1 + wide * wide);
      alphas_.push_back(static_cast<float>(alpha));
      sigmas_.push_back(static_cast<float>(wide * alpha));
    }
  }

  bool uses_history() const override { return second_order_; }

  void step(int k, std::span<const float> x, std::span<const float> model_out,
            std::span<const float> /*noise*/, std::span<float> history,
            std::span<float> x_next) const override {
    ensure(k < steps(), "level {} is the last", k);
    ensure(!second_order_ || history.size() == x.size(), "step {} needs the frame's history", k);
    const std::size_t at = index(k);
    const Level from = level_of(ratios_[at]);
    if (ratios_[at + 1] == 0) return finish(from, x, model_out, history, x_next);

    const Level to = level_of(ratios_[at + 1]);
    const float h = to.lambda - from.lambda;
    const float keep = to.sigma / from.sigma;
    const float gain = to.alpha * (std::exp(-h) - 1.0F);
    const bool last = k + 1 == steps();
    if (!second_order_ || k == first_step_ || (last && first_order_at_end_)) {
      for (std::size_t i = 0; i < x.size(); ++i) {
        const float x0 = clean(x[i], model_out[i], from);
        if (second_order_) history[i] = x0;
        x_next[i] = keep * x[i] - gain * x0;
      }
      return;
    }
    const float r = (from.lambda - level_of(ratios_[at - 1]).lambda) / h;
    const float inverse_r = 1.0F / r;
    const float half_gain = 0.5F * gain;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float x0 = clean(x[i], model_out[i], from);
      const float difference = inverse_r * (x0 - history[i]);
      history[i] = x0;
      x_next[i] = keep * x[i] - gain * x0 - half_gain * difference;
    }
  }

 private:
  float clean(float x, float model_out, const Level& at) const {
    switch (prediction_) {
      case PredictionType::kSample:
        return model_out;
      case PredictionType::kVelocity:
        return at.alpha * x - at.sigma * model_out;
      case PredictionType::kEpsilon:
        break;
    }
    return (x - at.sigma * model_out) / at.alpha;
  }

  // To sigma 0: lambda is infinite there, and the first-order step is the clean estimate itself.
  void finish(const Level& from, std::span<const float> x, std::span<const float> model_out,
              std::span<float> history, std::span<float> x_next) const {
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float x0 = clean(x[i], model_out[i], from);
      if (second_order_) history[i] = x0;
      x_next[i] = x0;
    }
  }

  bool second_order_ = true;
  bool first_order_at_end_ = true;
  std::vector<float> ratios_;  // sigma / alpha per level, K + 1
};

}  // namespace

std::unique_ptr<Sampler> make_dpm(const SamplerConfig& config, int steps, int first_step) {
  return std::make_unique<DpmPp2m>(config, steps, first_step);
}

}  // namespace seamwright::model

// DDIM (Song et al. 2021) and LCM (Luo et al. 2023): samplers on the trained timesteps themselves.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/sampling/noise_schedule.h"

namespace seamwright::model {
namespace {

// What the two have in common: levels at integer timesteps, clipping of the clean estimate.
class TimestepSampler : public Sampler {
 protected:
  TimestepSampler(const SamplerConfig& config, const std::vector<double>& timesteps,
                  int first_step) {
    prediction_ = config.prediction;
    first_step_ = first_step;
    clip_ = config.clip_sample ? static_cast<float>(config.clip_range) : 0;
    const auto bars = cumulative_alphas(config);
    final_bar_ = config.set_alpha_to_one ? 1.0F : bars.front();
    const auto at = timestep_indices(timesteps, config);
    for (std::size_t k = 0; k < at.size(); ++k) {
      timesteps_.push_back(static_cast<float>(timesteps[k]));
      bars_.push_back(bars[at[k]]);
      require(bars_.back() > 0 || prediction_ != PredictionType::kEpsilon,
              "timestep {} of this model is pure noise (rescale_betas_zero_snr), from which a "
              "noise prediction says nothing about the picture: it needs v_prediction",
              timesteps[k]);
      alphas_.push_back(static_cast<float>(std::sqrt(static_cast<double>(bars_.back()))));
      sigmas_.push_back(static_cast<float>(std::sqrt(1.0 - static_cast<double>(bars_.back()))));
    }
    alphas_.push_back(1);
    sigmas_.push_back(0);
  }

  float clipped(float x0) const { return clip_ > 0 ? std::clamp(x0, -clip_, clip_) : x0; }

  // The clean estimate before clipping, with sa and sb the roots of alpha_bar and its complement.
  float clean(float x, float model_out, float sa, float sb) const {
    switch (prediction_) {
      case PredictionType::kSample:
        return model_out;
      case PredictionType::kVelocity:
        return sa * x - sb * model_out;
      case PredictionType::kEpsilon:
        break;
    }
    return (x - sb * model_out) / sa;
  }

  std::vector<float> bars_;  // alpha_bar per step
  float final_bar_ = 1;
  float clip_ = 0;
};

class Ddim final : public TimestepSampler {
 public:
  Ddim(const SamplerConfig& config, int steps, int first_step)
      : TimestepSampler(config, spaced_timesteps(config, steps, true), first_step) {
    const auto bars = cumulative_alphas(config);
    const std::int64_t stride = config.train_timesteps / steps;
    for (std::size_t k = 0; k < bars_.size(); ++k) {
      // The previous timestep by subtraction, for every spacing; below 0 is the clean end.
      const std::int64_t previous = static_cast<std::int64_t>(timesteps_[k]) - stride;
      const float next = previous >= 0 ? bars[static_cast<std::size_t>(previous)] : final_bar_;
      next_bars_.push_back(next);
      const float b = 1.0F - bars_[k];
      const float variance = ((1.0F - next) / b) * (1.0F - bars_[k] / next);
      deviations_.push_back(config.eta > 0 ? static_cast<float>(config.eta) * std::sqrt(variance)
                                           : 0.0F);
    }
  }

  bool stochastic(int k) const override { return deviations_[index(k)] > 0; }

  void step(int k, std::span<const float> x, std::span<const float> model_out,
            std::span<const float> noise, std::span<float> /*history*/,
            std::span<float> x_next) const override {
    ensure(k < steps(), "level {} is the last", k);
    const std::size_t at = index(k);
    const float sa = std::sqrt(bars_[at]);
    const float sb = std::sqrt(1.0F - bars_[at]);
    const float deviation = deviations_[at];
    const float next_sa = std::sqrt(next_bars_[at]);
    const float direction = std::sqrt(1.0F - next_bars_[at] - deviation * deviation);
    ensure(deviation == 0 || noise.size() == x.size(), "step {} needs noise", k);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float x0 = clean(x[i], model_out[i], sa, sb);
      // The noise estimate stays that of the unclipped relation.
      float e = model_out[i];
      if (prediction_ == PredictionType::kSample) e = (x[i] - sa * x0) / sb;
      if (prediction_ == PredictionType::kVelocity) e = sa * model_out[i] + sb * x[i];
      float next = next_sa * clipped(x0) + direction * e;
      if (deviation > 0) next += deviation * noise[i];
      x_next[i] = next;
    }
  }

 private:
  std::vector<float> next_bars_;
  std::vector<float> deviations_;
};

// The distilled schedule of `original_steps` timesteps, thinned to N.
std::vector<double> lcm_timesteps(const SamplerConfig& config, int steps) {
  require(config.original_steps >= 1 && config.original_steps <= config.train_timesteps,
          "original_inference_steps is {}, but must be between 1 and {}", config.original_steps,
          config.train_timesteps);
  require(steps <= config.original_steps,
          "steps is {}, but LCM models are distilled for at most {} steps (4 to 8 are usual)",
          steps, config.original_steps);
  const std::int64_t stride = config.train_timesteps / config.original_steps;
  std::vector<double> out;
  for (int i = 0; i < steps; ++i) {
    const auto skipped = static_cast<std::int64_t>(
        std::floor(i * (static_cast<double>(config.original_steps) / steps)));
    out.push_back(static_cast<double>((config.original_steps - skipped) * stride - 1));
  }
  return out;
}

class Lcm final : public TimestepSampler {
 public:
  Lcm(const SamplerConfig& config, int steps, int first_step)
      : TimestepSampler(config, lcm_timesteps(config, steps), first_step),
        scaling_(static_cast<float>(config.timestep_scaling)) {}

  bool stochastic(int k) const override { return k + 1 < steps(); }

  void step(int k, std::span<const float> x, std::span<const float> model_out,
            std::span<const float> noise, std::span<float> /*history*/,
            std::span<float> x_next) const override {
    ensure(k < steps(), "level {} is the last", k);
    const std::size_t at = index(k);
    const float sa = std::sqrt(bars_[at]);
    const float sb = std::sqrt(1.0F - bars_[at]);
    constexpr float kDataVariance = 0.25F;
    const float scaled = timesteps_[at] * scaling_;
    const float c_skip = kDataVariance / (scaled * scaled + kDataVariance);
    const float c_out = scaled / std::sqrt(scaled * scaled + kDataVariance);
    const bool last = !stochastic(k);
    ensure(last || noise.size() == x.size(), "step {} needs noise", k);
    const float next_sa = last ? 1 : std::sqrt(bars_[at + 1]);
    const float next_sb = last ? 0 : std::sqrt(1.0F - bars_[at + 1]);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float x0 = clipped(clean(x[i], model_out[i], sa, sb));
      const float denoised = c_out * x0 + c_skip * x[i];
      x_next[i] = last ? denoised : next_sa * denoised + next_sb * noise[i];
    }
  }

 private:
  float scaling_;
};

}  // namespace

std::unique_ptr<Sampler> make_ddim(const SamplerConfig& config, int steps, int first_step) {
  return std::make_unique<Ddim>(config, steps, first_step);
}

std::unique_ptr<Sampler> make_lcm(const SamplerConfig& config, int steps, int first_step) {
  return std::make_unique<Lcm>(config, steps, first_step);
}

}  // namespace seamwright::model

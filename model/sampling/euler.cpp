// Euler and Euler ancestral (Karras et al. 2022; Crowson's k-diffusion): x = clean + sigma * noise.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/sampling/noise_schedule.h"

namespace seamwright::model {
namespace {

class Euler final : public Sampler {
 public:
  Euler(const SamplerConfig& config, int steps, int first_step)
      : ancestral_(config.kind == SamplerKind::kEulerAncestral) {
    prediction_ = config.prediction;
    variance_exploding_ = true;
    first_step_ = first_step;
    require(!ancestral_ || prediction_ != PredictionType::kSample,
            "Euler ancestral does not take models that predict the picture itself: use euler");
    auto bars = cumulative_alphas(config);
    if (config.rescale_zero_snr) bars.back() = kSmallestAlpha;
    const auto trained = trained_sigmas(bars);
    auto times = spaced_timesteps(config, steps, false);
    choose_sigmas(config, trained, times);
    alphas_.assign(sigmas_.size(), 1.0F);
    const float most = *std::max_element(sigmas_.begin(), sigmas_.end());
    init_noise_sigma_ =
        config.spacing == TimestepSpacing::kLeading ? std::sqrt(most * most + 1.0F) : most;
  }

  bool stochastic(int k) const override { return ancestral_ && k + 1 < steps(); }

  void step(int k, std::span<const float> x, std::span<const float> model_out,
            std::span<const float> noise, std::span<float> /*history*/,
            std::span<float> x_next) const override {
    ensure(k < steps(), "level {} is the last", k);
    const float s = sigma(k);
    const float to = sigma(k + 1);
    float up = 0;
    float down = to;
    if (ancestral_) {
      up = std::sqrt(to * to * (s * s - to * to) / (s * s));
      down = std::sqrt(to * to - up * up);
      ensure(up == 0 || noise.size() == x.size(), "step {} needs noise", k);
    }
    const float q = s * s + 1.0F;
    const float c_out = -s / std::sqrt(q);
    const float dt = down - s;
    for (std::size_t i = 0; i < x.size(); ++i) {
      float x0 = model_out[i];
      if (prediction_ == PredictionType::kEpsilon) x0 = x[i] - s * model_out[i];
      if (prediction_ == PredictionType::kVelocity) x0 = model_out[i] * c_out + x[i] / q;
      const float derivative = (x[i] - x0) / s;
      float next = x[i] + derivative * dt;
      if (up > 0) next += noise[i] * up;
      x_next[i] = next;
    }
  }

 private:
  void choose_sigmas(const SamplerConfig& config, const std::vector<float>& trained,
                     std::vector<double>& times) {
    std::vector<double> sigmas;
    // fp32 timesteps, as the reference has them before it interpolates.
    for (double& t : times) t = static_cast<double>(static_cast<float>(t));
    for (const double t : times) sigmas.push_back(interpolate(trained, t));
    if (config.karras && !ancestral_) {
      sigmas =
          karras_sigmas(config.sigma_min.value_or(sigmas.back()),
                        config.sigma_max.value_or(sigmas.front()), static_cast<int>(sigmas.size()));
      for (std::size_t k = 0; k < times.size(); ++k) {
        times[k] = timestep_of_sigma(sigmas[k], trained);
      }
    }
    const bool continuous = config.continuous_timesteps && !ancestral_ &&
                            config.prediction == PredictionType::kVelocity;
    for (std::size_t k = 0; k < times.size(); ++k) {
      sigmas_.push_back(static_cast<float>(sigmas[k]));
      timesteps_.push_back(continuous ? 0.25F * std::log(sigmas_.back())
                                      : static_cast<float>(times[k]));
    }
    sigmas_.push_back(config.final_sigma_min && !ancestral_ ? trained.front() : 0.0F);
  }

  bool ancestral_;
};

}  // namespace

std::unique_ptr<Sampler> make_euler(const SamplerConfig& config, int steps, int first_step) {
  return std::make_unique<Euler>(config, steps, first_step);
}

}  // namespace seamwright::model

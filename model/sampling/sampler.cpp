#include "model/sampling/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/sampling/noise_schedule.h"

namespace seamwright::model {
namespace {

void same_size(std::span<const float> a, std::span<const float> b, std::span<const float> c) {
  ensure(a.size() == b.size() && b.size() == c.size(),
         "a sampler was given {}, {} and {} values at once", a.size(), b.size(), c.size());
}

}  // namespace

std::size_t Sampler::index(int k) const {
  ensure(k >= 0 && k <= steps(), "step {} is outside 0..{}", k, steps());
  return static_cast<std::size_t>(k);
}

void Sampler::scale_input(int k, std::span<const float> x, std::span<float> out) const {
  ensure(x.size() == out.size(), "a sampler was given {} and {} values at once", x.size(),
         out.size());
  if (!variance_exploding_) {
    if (x.data() != out.data()) std::copy(x.begin(), x.end(), out.begin());
    return;
  }
  const float s = sigma(k);
  const float divisor = std::sqrt(s * s + 1.0F);
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] / divisor;
}

void Sampler::predict_x0(int k, std::span<const float> x, std::span<const float> model_out,
                         std::span<float> x0) const {
  same_size(x, model_out, x0);
  const float a = alpha(k);
  const float s = sigma(k);
  const std::size_t n = x.size();
  if (prediction_ == PredictionType::kSample) {
    for (std::size_t i = 0; i < n; ++i) x0[i] = model_out[i];
  } else if (prediction_ == PredictionType::kEpsilon) {
    if (variance_exploding_) {
      for (std::size_t i = 0; i < n; ++i) x0[i] = x[i] - s * model_out[i];
    } else {
      for (std::size_t i = 0; i < n; ++i) x0[i] = (x[i] - s * model_out[i]) / a;
    }
  } else if (variance_exploding_) {
    const float q = s * s + 1.0F;
    const float c_out = -s / std::sqrt(q);
    for (std::size_t i = 0; i < n; ++i) x0[i] = model_out[i] * c_out + x[i] / q;
  } else {
    for (std::size_t i = 0; i < n; ++i) x0[i] = a * x[i] - s * model_out[i];
  }
}

void Sampler::predict_output(int k, std::span<const float> x, std::span<const float> x0,
                             std::span<float> model_out) const {
  same_size(x, x0, model_out);
  const float a = alpha(k);
  const float s = sigma(k);
  const std::size_t n = x.size();
  if (prediction_ == PredictionType::kSample) {
    for (std::size_t i = 0; i < n; ++i) model_out[i] = x0[i];
    return;
  }
  ensure(s > 0, "level {} is clean and has no prediction", k);
  if (prediction_ == PredictionType::kEpsilon) {
    for (std::size_t i = 0; i < n; ++i) model_out[i] = (x[i] - a * x0[i]) / s;
  } else if (variance_exploding_) {
    const float q = s * s + 1.0F;
    const float c_out = std::sqrt(q) / s;
    for (std::size_t i = 0; i < n; ++i) model_out[i] = (x[i] / q - x0[i]) * c_out;
  } else {
    for (std::size_t i = 0; i < n; ++i) model_out[i] = (a * x[i] - x0[i]) / s;
  }
}

void Sampler::add_noise(int k, std::span<const float> x0, std::span<const float> noise,
                        std::span<float> x) const {
  same_size(x0, noise, x);
  const float a = alpha(k);
  const float s = sigma(k);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = a * x0[i] + s * noise[i];
}

void Sampler::step_from_x0(int k, std::span<const float> x, std::span<const float> x0,
                           std::span<const float> noise, std::span<float> history,
                           std::span<float> x_next) const {
  ensure(x.data() != x_next.data(), "step_from_x0 cannot write over its input latent");
  predict_output(k, x, x0, x_next);
  step(k, x, x_next, noise, history, x_next);
}

std::unique_ptr<Sampler> make_sampler(const SamplerConfig& config, int steps, int first_step) {
  require(steps >= 1 && steps <= config.train_timesteps,
          "steps is {}, but must be between 1 and {}, the timesteps the model was trained on",
          steps, config.train_timesteps);
  require(first_step >= 0 && first_step < steps,
          "the first step is {}, but must be between 0 and {}", first_step, steps - 1);
  switch (config.kind) {
    case SamplerKind::kDdim:
      return make_ddim(config, steps, first_step);
    case SamplerKind::kLcm:
      return make_lcm(config, steps, first_step);
    case SamplerKind::kEuler:
    case SamplerKind::kEulerAncestral:
      return make_euler(config, steps, first_step);
    case SamplerKind::kDpmPp2m:
      return make_dpm(config, steps, first_step);
  }
  fail(ErrorCode::kInternal, "unknown sampler kind {}", static_cast<int>(config.kind));
}

int first_step_for_strength(int steps, double strength) {
  require(strength > 0 && strength <= 1, "strength is {}, but must be above 0 and at most 1",
          strength);
  const int kept = std::min(static_cast<int>(steps * strength), steps);
  require(kept >= 1, "strength {} of {} steps leaves no step to run: raise either", strength,
          steps);
  return steps - kept;
}

}  // namespace seamwright::model

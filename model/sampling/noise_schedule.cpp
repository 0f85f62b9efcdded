#include "model/sampling/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.h"

namespace seamwright::model {
namespace {

// Evenly spaced fp32 values, filled from both ends so that both are exact (as torch does).
std::vector<float> linspace(double first, double last, std::size_t count) {
  const auto low = static_cast<float>(first);
  const auto high = static_cast<float>(last);
  std::vector<float> out(count, low);
  if (count < 2) return out;
  const float step = (high - low) / static_cast<float>(count - 1);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = i < count / 2 ? low + step * static_cast<float>(i)
                           : high - step * static_cast<float>(count - 1 - i);
  }
  return out;
}

// Nichol and Dhariwal 2021: alpha_bar(t) = cos^2, each beta at most 0.999.
std::vector<float> squared_cosine_betas(std::size_t count) {
  const auto alpha_bar = [](double t) {
    const double c = std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2);
    return c * c;
  };
  std::vector<float> betas;
  for (std::size_t i = 0; i < count; ++i) {
    const double from = static_cast<double>(i) / static_cast<double>(count);
    const double to = static_cast<double>(i + 1) / static_cast<double>(count);
    betas.push_back(static_cast<float>(std::min(1 - alpha_bar(to) / alpha_bar(from), 0.999)));
  }
  return betas;
}

std::vector<float> trained_betas(const SamplerConfig& config) {
  if (!config.trained_betas.empty()) {
    return {config.trained_betas.begin(), config.trained_betas.end()};
  }
  const auto count = static_cast<std::size_t>(config.train_timesteps);
  if (config.betas == BetaSchedule::kSquaredCosine) return squared_cosine_betas(count);
  if (config.betas == BetaSchedule::kLinear) {
    return linspace(config.beta_start, config.beta_end, count);
  }
  auto roots = linspace(std::sqrt(config.beta_start), std::sqrt(config.beta_end), count);
  for (float& value : roots) value *= value;
  return roots;
}

// Products in double, each rounded once, as torch's cumprod on a CPU.
std::vector<float> cumulative_product(const std::vector<float>& factors) {
  std::vector<float> out;
  double product = 1;
  for (const float factor : factors) {
    product *= static_cast<double>(factor);
    out.push_back(static_cast<float>(product));
  }
  return out;
}

std::vector<float> one_minus(std::vector<float> values) {
  for (float& value : values) value = 1.0F - value;
  return values;
}

// Lin et al. 2023: shift sqrt(alpha_bar) so that the last is 0, scale so that the first is kept;
// then back to factors, because the reference goes through betas again.
std::vector<float> rescaled_factors(const std::vector<float>& alphas) {
  std::vector<float> roots = alphas;
  for (float& value : roots) value = std::sqrt(value);
  const float first = roots.front();
  const float last = roots.back();
  const float scale = first / (first - last);
  for (float& value : roots) value = (value - last) * scale;
  std::vector<float> bars = roots;
  for (float& value : bars) value *= value;
  std::vector<float> betas{1.0F - bars[0]};
  for (std::size_t i = 1; i < bars.size(); ++i) betas.push_back(1.0F - bars[i] / bars[i - 1]);
  return one_minus(betas);
}

// A schedule of hostile or mistaken betas can leave fp32's range: pure noise long before its end
// (sigma infinite, already for a subnormal alpha_bar), or no noise at all (sigma 0).
void check_bars(const std::vector<float>& bars, bool may_end_in_noise) {
  for (std::size_t t = 0; t < bars.size(); ++t) {
    const bool last = may_end_in_noise && t + 1 == bars.size();
    constexpr float kLeast = std::numeric_limits<float>::min();
    require(bars[t] < 1 && (bars[t] >= kLeast || (last && bars[t] == 0)),
            "the betas of this noise schedule leave alpha_bar = {} at timestep {} of {}: it must "
            "stay between {} and 1",
            bars[t], t, bars.size(), kLeast);
  }
  require(bars.front() > bars.back(), "the betas of this noise schedule add no noise");
}

}  // namespace

double round_even(double value) { return std::nearbyint(value); }

std::vector<float> cumulative_alphas(const SamplerConfig& config) {
  auto bars = cumulative_product(one_minus(trained_betas(config)));
  check_bars(bars, false);
  if (config.rescale_zero_snr) {
    bars = cumulative_product(rescaled_factors(bars));
    check_bars(bars, true);
  }
  return bars;
}

std::vector<float> trained_sigmas(const std::vector<float>& alphas) {
  std::vector<float> sigmas;
  for (const float alpha : alphas) sigmas.push_back(std::sqrt((1.0F - alpha) / alpha));
  return sigmas;
}

std::vector<double> spaced_timesteps(const SamplerConfig& config, int steps, bool round) {
  const auto train = static_cast<double>(config.train_timesteps);
  std::vector<double> out(static_cast<std::size_t>(steps));
  for (int i = 0; i < steps; ++i) {
    double& t = out[static_cast<std::size_t>(i)];
    const int ascending = steps - 1 - i;
    switch (config.spacing) {
      case TimestepSpacing::kLinspace:
        t = steps == 1 ? 0 : ascending * ((train - 1) / (steps - 1));
        if (round) t = round_even(t);
        break;
      case TimestepSpacing::kLeading:
        t = static_cast<double>(ascending * (config.train_timesteps / steps) + config.steps_offset);
        break;
      case TimestepSpacing::kTrailing:
        t = round_even(train - i * (train / steps)) - 1;
        break;
    }
  }
  return out;
}

std::vector<double> dpm_timesteps(const SamplerConfig& config, int steps,
                                  const std::vector<float>& alphas) {
  // Timesteps with a log signal-to-noise ratio below the clip are left out (cosine schedules).
  auto last = config.train_timesteps;
  for (auto at = alphas.rbegin(); at != alphas.rend(); ++at) {
    const float lambda = std::log(std::sqrt(*at)) - std::log(std::sqrt(1.0F - *at));
    if (static_cast<double>(lambda) >= config.lambda_min_clipped) break;
    --last;
  }
  require(last >= 1, "lambda_min_clipped is {}, which leaves no timestep",
          config.lambda_min_clipped);
  std::vector<double> out(static_cast<std::size_t>(steps));
  for (int i = 0; i < steps; ++i) {
    double& t = out[static_cast<std::size_t>(i)];
    const int ascending = steps - i;  // of steps + 1 points
    switch (config.spacing) {
      case TimestepSpacing::kLinspace:
        t = round_even(ascending * (static_cast<double>(last - 1) / steps));
        break;
      case TimestepSpacing::kLeading:
        t = static_cast<double>(ascending * (last / (steps + 1)) + config.steps_offset);
        break;
      case TimestepSpacing::kTrailing:
        t = round_even(static_cast<double>(last) -
                       i * (static_cast<double>(config.train_timesteps) / steps)) -
            1;
        break;
    }
  }
  return out;
}

double interpolate(const std::vector<float>& values, double at) {
  const auto last = static_cast<double>(values.size() - 1);
  if (at <= 0) return static_cast<double>(values.front());
  if (at >= last) return static_cast<double>(values.back());
  const auto low = static_cast<std::size_t>(at);
  const auto from = static_cast<double>(values[low]);
  const auto to = static_cast<double>(values[low + 1]);
  return (to - from) * (at - static_cast<double>(low)) + from;
}

std::vector<double> karras_sigmas(double low, double high, int steps) {
  constexpr double kRho = 7;
  const double from = std::pow(high, 1 / kRho);
  const double to = std::pow(low, 1 / kRho);
  std::vector<double> out(static_cast<std::size_t>(steps));
  for (int i = 0; i < steps; ++i) {
    const double ramp = steps == 1 ? 0 : static_cast<double>(i) / (steps - 1);
    out[static_cast<std::size_t>(i)] = std::pow(from + ramp * (to - from), kRho);
  }
  return out;
}

double timestep_of_sigma(double sigma, const std::vector<float>& sigmas) {
  const double wanted = std::log(std::max(sigma, 1e-10));
  // The last trained sigma that is not above the wanted one, but never the very last.
  std::size_t low = 0;
  for (std::size_t i = 0; i + 1 < sigmas.size(); ++i) {
    if (wanted >= static_cast<double>(std::log(sigmas[i]))) low = i;
  }
  const auto from = static_cast<double>(std::log(sigmas[low]));
  const auto to = static_cast<double>(std::log(sigmas[low + 1]));
  // Neighbours can be equal in fp32: long schedules of tiny or of nearly full noise.
  const double weight = from == to ? 0.0 : std::clamp((from - wanted) / (from - to), 0.0, 1.0);
  return (1 - weight) * static_cast<double>(low) + weight * static_cast<double>(low + 1);
}

std::vector<std::size_t> timestep_indices(const std::vector<double>& timesteps,
                                          const SamplerConfig& config) {
  std::vector<std::size_t> out;
  for (const double t : timesteps) {
    require(t >= 0 && t < static_cast<double>(config.train_timesteps),
            "{} steps with steps_offset {} would need timestep {}, but the model was trained on 0 "
            "to {}: use fewer steps",
            timesteps.size(), config.steps_offset, t, config.train_timesteps - 1);
    out.push_back(static_cast<std::size_t>(t));
  }
  return out;
}

}  // namespace seamwright::model

// Private to the samplers: trained noise schedules and the choice of inference timesteps.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "model/sampling/sampler.h"

namespace seamwright::model {

// Stands for a last alpha of 0 where signal-to-noise was rescaled to zero: without being 0, so that
// the first sigma is finite.
inline constexpr float kSmallestAlpha = 0x1p-24F;

// Cumulative products of (1 - beta) in fp32, one per training timestep.
std::vector<float> cumulative_alphas(const SamplerConfig& config);
// sqrt((1 - a) / a) in fp32, ascending with the timestep.
std::vector<float> trained_sigmas(const std::vector<float>& alphas);

// N descending timesteps, rounded to integers (DDIM) or, for linspace, left as they are (Euler).
std::vector<double> spaced_timesteps(const SamplerConfig& config, int steps, bool round);
// DPM-Solver's own reading of the same spacings: N + 1 points of which the last is left away.
std::vector<double> dpm_timesteps(const SamplerConfig& config, int steps,
                                  const std::vector<float>& alphas);

// Linear interpolation of `values` at fractional index `at`, clamped at both ends.
double interpolate(const std::vector<float>& values, double at);
// Karras et al. 2022: `steps` sigmas from high to low with rho = 7.
std::vector<double> karras_sigmas(double low, double high, int steps);
// The fractional timestep whose log sigma is that of `sigma`.
double timestep_of_sigma(double sigma, const std::vector<float>& sigmas);

// Round half to even, as NumPy does.
double round_even(double value);

// Each timestep as an index into the trained schedule; throws kInvalidArgument outside of it.
std::vector<std::size_t> timestep_indices(const std::vector<double>& timesteps,
                                          const SamplerConfig& config);

// One sampler each; `steps` and the config were checked by make_sampler.
std::unique_ptr<Sampler> make_ddim(const SamplerConfig& config, int steps, int first_step);
std::unique_ptr<Sampler> make_lcm(const SamplerConfig& config, int steps, int first_step);
std::unique_ptr<Sampler> make_euler(const SamplerConfig& config, int steps, int first_step);
std::unique_ptr<Sampler> make_dpm(const SamplerConfig& config, int steps, int first_step);

}  // namespace seamwright::model

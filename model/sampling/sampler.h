// Samplers: the noise-schedule arithmetic that takes a latent from level k to level k+1.
// Threads: const after construction; calls touch only the spans they are given.
//
// Everything is element-wise on fp32 and stateless. What DPM++ 2M remembers (the previous clean
// estimate) is a span of the caller's that belongs to (frame, level); it travels and is
// checkpointed with the latent. Coefficients and operation order follow diffusers' schedulers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config_json.h"

namespace seamwright::model {

enum class SamplerKind : std::uint8_t { kDdim, kEuler, kEulerAncestral, kDpmPp2m, kLcm };
enum class PredictionType : std::uint8_t { kEpsilon, kSample, kVelocity };
enum class TimestepSpacing : std::uint8_t { kLeading, kTrailing, kLinspace };
enum class BetaSchedule : std::uint8_t { kLinear, kScaledLinear, kSquaredCosine };

// A scheduler_config.json with the defaults of its class filled in. The class defaults differ: read
// files with read_sampler_config instead of starting from this struct.
struct SamplerConfig {
  SamplerKind kind = SamplerKind::kDdim;
  PredictionType prediction = PredictionType::kEpsilon;
  TimestepSpacing spacing = TimestepSpacing::kLeading;
  // The trained noise schedule.
  BetaSchedule betas = BetaSchedule::kLinear;
  double beta_start = 1e-4;
  double beta_end = 0.02;
  std::vector<double> trained_betas;  // replaces the three above when not empty
  std::int64_t train_timesteps = 1000;
  std::int64_t steps_offset = 0;
  bool rescale_zero_snr = false;
  // DDIM and LCM.
  bool clip_sample = false;
  double clip_range = 1;
  bool set_alpha_to_one = true;
  double eta = 0;  // DDIM: 0 deterministic, 1 like DDPM
  std::int64_t original_steps = 50;
  double timestep_scaling = 10;
  // Euler and DPM++.
  bool karras = false;
  std::optional<double> sigma_min, sigma_max;
  bool continuous_timesteps = false;  // with v-prediction: t = ln(sigma) / 4
  bool final_sigma_min = false;       // the last sigma is the smallest trained one, not 0
  int solver_order = 2;
  bool lower_order_final = true;
  bool euler_at_final = false;
  double lambda_min_clipped = -1e308;
};

// The sampler a scheduler_config.json asks for, or the one `name` asks for with that file's
// values: a key the file leaves out gets the default of the class that is used, as in diffusers.
// Names: ddim euler euler_a dpm++_2m dpm++_2m_karras lcm; empty keeps the file's class.
// Throws kUnsupported for other classes (PNDM ...) and options, saying which names would work.
SamplerConfig read_sampler_config(const Config& file, std::string_view name = {});

// The names above, for messages and --help.
std::span<const std::string_view> sampler_names();

class Sampler {
 public:
  virtual ~Sampler() = default;

  // K. Levels run from 0 (noise) to steps() (clean); step k leads from level k to k+1.
  int steps() const { return static_cast<int>(timesteps_.size()); }
  // The first step of a run that starts from given frames (video to video); 0 otherwise.
  int first_step() const { return first_step_; }
  // What the U-Net is told; may be fractional.
  float timestep(int k) const { return timesteps_[index(k)]; }
  // Standard deviation of a level-0 latent: unit noise is multiplied by it.
  float init_noise_sigma() const { return init_noise_sigma_; }

  PredictionType prediction() const { return prediction_; }
  bool variance_exploding() const { return variance_exploding_; }

  // A latent at level k is alpha(k) * clean + sigma(k) * noise; level steps() has sigma 0.
  float alpha(int k) const { return alphas_[index(k)]; }
  float sigma(int k) const { return sigmas_[index(k)]; }

  // What the U-Net reads for latent x. out may be x.
  void scale_input(int k, std::span<const float> x, std::span<float> out) const;
  // Clean estimate <-> model output at level k: the plain linear relation, never clipped.
  // The result may be written over either input.
  void predict_x0(int k, std::span<const float> x, std::span<const float> model_out,
                  std::span<float> x0) const;
  void predict_output(int k, std::span<const float> x, std::span<const float> x0,
                      std::span<float> model_out) const;
  // A clean estimate brought to level k with unit noise. x may be x0 or noise.
  void add_noise(int k, std::span<const float> x0, std::span<const float> noise,
                 std::span<float> x) const;

  // Level k -> k+1. `noise`: unit noise where stochastic(k), else ignored and may be empty.
  // `history`: where uses_history(), the frame's span of its own; read when k > first_step() and
  // left ready for step k+1. x_next may be x or model_out.
  virtual void step(int k, std::span<const float> x, std::span<const float> model_out,
                    std::span<const float> noise, std::span<float> history,
                    std::span<float> x_next) const = 0;
  // The same step for a clean estimate that was changed after predict_x0 (causal mode). x_next must
  // not be x.
  void step_from_x0(int k, std::span<const float> x, std::span<const float> x0,
                    std::span<const float> noise, std::span<float> history,
                    std::span<float> x_next) const;

  virtual bool stochastic(int /*k*/) const { return false; }
  virtual bool uses_history() const { return false; }

 protected:
  std::size_t index(int k) const;  // throws kInternal outside [0, steps()]

  PredictionType prediction_ = PredictionType::kEpsilon;
  bool variance_exploding_ = false;  // Euler's scaling: x = clean + sigma * noise
  int first_step_ = 0;
  float init_noise_sigma_ = 1;
  std::vector<float> timesteps_;  // K
  std::vector<float> alphas_;     // K + 1
  std::vector<float> sigmas_;     // K + 1
};

// Throws kInvalidArgument when the schedule cannot give that many steps.
std::unique_ptr<Sampler> make_sampler(const SamplerConfig& config, int steps, int first_step = 0);

// The same arithmetic with other step numbers. Step s of the result is step levels[s] of `inner`;
// where levels[s + 1] equals levels[s] it is a resampling round instead: the clean estimate is
// re-noised to the same level. `levels` ascends by 0 or 1.
std::unique_ptr<Sampler> renumbered(std::unique_ptr<const Sampler> inner, std::vector<int> levels);
// A run that starts late, at inner's own first step (video to video): that step becomes 0.
std::unique_ptr<Sampler> from_first_step(std::unique_ptr<const Sampler> inner);
// Every level visited `rounds` times (known frames in local mode).
std::unique_ptr<Sampler> with_rounds(std::unique_ptr<const Sampler> inner, int rounds);

// Video to video: with strength s in (0, 1], the first int(steps * s) of the denoising is kept, so
// work starts at this step; 1 starts from pure noise.
int first_step_for_strength(int steps, double strength);

}  // namespace seamwright::model

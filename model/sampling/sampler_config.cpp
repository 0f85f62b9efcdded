#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "base/quoted.h"
#include "model/sampling/sampler.h"

namespace seamwright::model {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"ddim",     "euler",           "euler_a",
                                                    "dpm++_2m", "dpm++_2m_karras", "lcm"};

std::optional<SamplerKind> kind_of_class(std::string_view name) {
  if (name == "DDIMScheduler") return SamplerKind::kDdim;
  if (name == "EulerDiscreteScheduler") return SamplerKind::kEuler;
  if (name == "EulerAncestralDiscreteScheduler") return SamplerKind::kEulerAncestral;
  if (name == "DPMSolverMultistepScheduler") return SamplerKind::kDpmPp2m;
  if (name == "LCMScheduler") return SamplerKind::kLcm;
  return std::nullopt;
}

SamplerKind kind_of_name(std::string_view name) {
  if (name == "ddim") return SamplerKind::kDdim;
  if (name == "euler") return SamplerKind::kEuler;
  if (name == "euler_a") return SamplerKind::kEulerAncestral;
  if (name == "dpm++_2m" || name == "dpm++_2m_karras") return SamplerKind::kDpmPp2m;
  if (name == "lcm") return SamplerKind::kLcm;
  fail(ErrorCode::kInvalidArgument, "there is no sampler {}; choose one of {}", in_quotes(name),
       fmt::join(kNames, ", "));
}

void read_schedule(const Config& file, SamplerConfig& out) {
  const bool lcm = out.kind == SamplerKind::kLcm;
  out.train_timesteps = file.integer("num_train_timesteps", 1000, {2, 100000});
  out.beta_start = file.number("beta_start", lcm ? 0.00085 : 1e-4, {1e-8, 0.9999});
  out.beta_end = file.number("beta_end", lcm ? 0.012 : 0.02, {1e-8, 0.9999});
  const std::string schedule = file.choice("beta_schedule", lcm ? "scaled_linear" : "linear",
                                           {"linear", "scaled_linear", "squaredcos_cap_v2"});
  out.betas = schedule == "linear"          ? BetaSchedule::kLinear
              : schedule == "scaled_linear" ? BetaSchedule::kScaledLinear
                                            : BetaSchedule::kSquaredCosine;
  out.trained_betas = file.numbers("trained_betas", {1e-8, 0.9999}, 100000);
  if (!out.trained_betas.empty() &&
      out.trained_betas.size() != static_cast<std::size_t>(out.train_timesteps)) {
    file.wrong("num_train_timesteps", "it must be the number of trained_betas");
  }
  out.rescale_zero_snr = file.boolean("rescale_betas_zero_snr", false);
}

void read_timesteps(const Config& file, SamplerConfig& out) {
  const bool discrete = out.kind == SamplerKind::kDdim || out.kind == SamplerKind::kLcm;
  const std::string spacing = file.choice("timestep_spacing", discrete ? "leading" : "linspace",
                                          {"leading", "trailing", "linspace"});
  out.spacing = spacing == "leading"    ? TimestepSpacing::kLeading
                : spacing == "trailing" ? TimestepSpacing::kTrailing
                                        : TimestepSpacing::kLinspace;
  out.steps_offset = file.integer("steps_offset", 0, {0, 1000});
  const std::string prediction =
      file.choice("prediction_type", "epsilon", {"epsilon", "v_prediction", "sample"});
  out.prediction = prediction == "epsilon"  ? PredictionType::kEpsilon
                   : prediction == "sample" ? PredictionType::kSample
                                            : PredictionType::kVelocity;
  if (file.boolean("thresholding", false)) {
    file.unsupported("thresholding", "it mixes pixels of a whole frame and is unfit for latents");
  }
}

void read_discrete(const Config& file, SamplerConfig& out) {
  out.clip_sample = file.boolean("clip_sample", out.kind == SamplerKind::kDdim);
  out.clip_range = file.number("clip_sample_range", 1, {1e-6, 1e6});
  out.set_alpha_to_one = file.boolean("set_alpha_to_one", true);
  out.original_steps = file.integer("original_inference_steps", 50, {1, 100000});
  out.timestep_scaling = file.number("timestep_scaling", 10, {1e-6, 1e6});
}

void read_sigmas(const Config& file, SamplerConfig& out) {
  if (out.kind == SamplerKind::kEulerAncestral) return;  // its class has none of these
  out.karras = file.boolean("use_karras_sigmas", false);
  out.sigma_min = file.optional_number("sigma_min", {1e-6, 1e6});
  out.sigma_max = file.optional_number("sigma_max", {1e-6, 1e6});
  if (out.sigma_min && out.sigma_max && *out.sigma_min >= *out.sigma_max) {
    file.wrong("sigma_min", "it must be below sigma_max");
  }
  for (const char* key : {"use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas",
                          "use_flow_sigmas", "use_dynamic_shifting"}) {
    file.refuse_unless_default(key);
  }
  out.final_sigma_min =
      file.choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "sigma_min";
  if (out.kind == SamplerKind::kEuler) {
    file.choice("interpolation_type", "linear", {"linear"});
    out.continuous_timesteps =
        file.choice("timestep_type", "discrete", {"discrete", "continuous"}) == "continuous";
    return;
  }
  file.choice("algorithm_type", "dpmsolver++", {"dpmsolver++"});
  file.choice("solver_type", "midpoint", {"midpoint"});
  file.refuse_unless_default("variance_type");
  out.lower_order_final = file.boolean("lower_order_final", true);
  out.euler_at_final = file.boolean("euler_at_final", false);
  out.lambda_min_clipped = file.number("lambda_min_clipped", -1e308, {-1e308, 100});
}

}  // namespace

std::span<const std::string_view> sampler_names() { return kNames; }

SamplerConfig read_sampler_config(const Config& file, std::string_view name) {
  SamplerConfig out;
  if (name.empty()) {
    const auto kind = kind_of_class(file.text("_class_name", ""));
    if (!kind) {
      file.unsupported("_class_name", fmt::format("no sampler of this engine is of that class: "
                                                  "choose one by name, for example ddim ({})",
                                                  fmt::join(kNames, ", ")));
    }
    out.kind = *kind;
  } else {
    out.kind = kind_of_name(name);
  }
  read_schedule(file, out);
  read_timesteps(file, out);
  if (out.kind == SamplerKind::kDdim || out.kind == SamplerKind::kLcm) {
    read_discrete(file, out);
  } else {
    read_sigmas(file, out);
  }
  if (out.kind != SamplerKind::kDpmPp2m) return out;
  if (name.empty()) {
    out.solver_order = static_cast<int>(file.integer("solver_order", 2, {1, 3}));
    if (out.solver_order == 3) {
      file.unsupported("solver_order", "choose the second-order sampler by name: dpm++_2m");
    }
  } else {
    out.karras = name == "dpm++_2m_karras";  // the name says both, whatever the file says
  }
  return out;
}

}  // namespace seamwright::model

"""Writes tests/fixtures/samplers.json: what diffusers' schedulers do, step by step.

Each case is a scheduler config and a number of steps. Latent, model output and noise are given by
formula (below, and in tests/unit/model/sampler_test.cpp), so the file holds results only.

    python tools/reference/samplers.py        # needs torch and diffusers

Written with diffusers 0.42.1, torch 2.15.0.
"""
import json
import pathlib

import diffusers
import numpy as np
import torch

N = 8
I = np.arange(N)
CLASSES = {
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_a": diffusers.EulerAncestralDiscreteScheduler,
    "dpm++_2m": diffusers.DPMSolverMultistepScheduler,
    "dpm++_2m_karras": diffusers.DPMSolverMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
}
SD = {"beta_start": 0.00085, "beta_end": 0.012}
SD15 = {**SD, "beta_schedule": "scaled_linear", "steps_offset": 1, "set_alpha_to_one": False,
        "clip_sample": False, "skip_prk_steps": True, "_class_name": "PNDMScheduler"}
LINEAR = {**SD, "beta_schedule": "linear", "clip_sample": False, "steps_offset": 1}
V = {"prediction_type": "v_prediction"}
SVD = {**SD, **V, "beta_schedule": "scaled_linear", "timestep_type": "continuous",
       "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0,
       "timestep_spacing": "leading", "steps_offset": 1, "interpolation_type": "linear"}


def tensor(values):
    return torch.tensor(np.asarray(values), dtype=torch.float32)


def initial():
    return tensor(np.sin(0.05 * I + 0.3))


def model_output(k):
    return tensor(np.sin(0.37 * I + 1.3 * k))


def noise(k):
    return tensor(np.cos(0.71 * I + 2.1 * k))


def cases():
    for name in CLASSES:
        for steps in (1, 2, 8, 10, 25):
            yield name, {}, steps, {}
        for spacing in ("leading", "trailing", "linspace"):
            yield name, {**LINEAR, "timestep_spacing": spacing}, 10, {}
            yield name, {**SD15, "timestep_spacing": spacing}, 30, {}
        yield name, SD15, 12, {}
        yield name, {**LINEAR, **V}, 10, {}
        yield name, {**LINEAR, **V, "rescale_betas_zero_snr": True,
                     "timestep_spacing": "trailing"}, 10, {}
        if name != "euler_a":
            yield name, {**LINEAR, "prediction_type": "sample"}, 10, {}
        yield name, {**LINEAR, "beta_schedule": "squaredcos_cap_v2"}, 10, {}
        yield name, {"trained_betas": [0.001 * (i + 1) for i in range(50)],
                     "num_train_timesteps": 50, "original_inference_steps": 25}, 5, {}
        yield name, LINEAR, 20, {"first_step": 8}
    for eta in (0.5, 1.0):
        yield "ddim", LINEAR, 10, {"eta": eta}
    yield "ddim", {"clip_sample_range": 0.5}, 10, {}
    yield "ddim", {**LINEAR, "set_alpha_to_one": True}, 10, {}
    yield "euler", {**LINEAR, "use_karras_sigmas": True}, 10, {}
    yield "euler", {**LINEAR, "final_sigmas_type": "sigma_min"}, 10, {}
    yield "euler", SVD, 25, {}
    yield "dpm++_2m", {**LINEAR, "final_sigmas_type": "sigma_min",
                       "lower_order_final": False}, 10, {}
    yield "dpm++_2m", {**LINEAR, "final_sigmas_type": "sigma_min"}, 10, {}
    yield "dpm++_2m", {**LINEAR, "final_sigmas_type": "sigma_min"}, 20, {}
    yield "dpm++_2m", {**LINEAR, "euler_at_final": True}, 20, {}
    yield "dpm++_2m", {**LINEAR, "solver_order": 1}, 10, {}
    yield "dpm++_2m", {**LINEAR, "beta_schedule": "squaredcos_cap_v2",
                       "lambda_min_clipped": -5.1}, 10, {}
    yield "dpm++_2m_karras", {**LINEAR, "sigma_min": 0.1, "sigma_max": 10.0}, 10, {}
    yield "lcm", {**LINEAR, "original_inference_steps": 100}, 6, {}
    yield "lcm", {**LINEAR, "clip_sample": True}, 4, {}


def make(name, config):
    if name.startswith("dpm"):
        config = {**config, "use_karras_sigmas": name.endswith("karras")}
    return CLASSES[name].from_config(config)


def run(name, config, steps, options):
    scheduler = make(name, config)
    if name.startswith("dpm") and "sigma_min" in config:
        # The class reads these two from its config although its constructor does not take them.
        scheduler.register_to_config(sigma_min=config["sigma_min"], sigma_max=config["sigma_max"])
    scheduler.set_timesteps(steps)
    first = options.get("first_step", 0)
    if hasattr(scheduler, "set_begin_index"):
        # Without it a schedule whose first two timesteps round to the same integer starts at 1.
        scheduler.set_begin_index(first)
    step_index = {"k": first}
    module = __import__(type(scheduler).__module__, fromlist=["x"])
    module.randn_tensor = lambda *a, **b: noise(step_index["k"])
    x = initial() * float(scheduler.init_noise_sigma)
    result = {"sampler": name, "config": config, "steps": steps, **options,
              "timesteps": [float(t) for t in scheduler.timesteps],
              "init_noise_sigma": float(scheduler.init_noise_sigma)}
    if name.startswith("euler") or name.startswith("dpm"):
        result["sigmas"] = [float(s) for s in scheduler.sigmas]
    noised = scheduler.add_noise(initial(), noise(0), scheduler.timesteps[first:first + 1])
    result["noised"] = [float(v) for v in noised]
    result["scaled"], result["states"] = [], []
    for k in range(first, steps):
        t = scheduler.timesteps[k]
        step_index["k"] = k
        result["scaled"].append([float(v) for v in scheduler.scale_model_input(x, t)])
        extra = {"eta": options["eta"]} if "eta" in options else {}
        x = scheduler.step(model_output(k), t, x, **extra).prev_sample
        result["states"].append([float(v) for v in x])
    if not name.startswith("euler"):
        del result["scaled"]  # equal to the latent
    return result


def shorten(value):
    """Nine digits carry every float32."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, list):
        return [shorten(v) for v in value]
    return value


def main():
    results = [run(*case) for case in cases()]
    lines = [json.dumps({k: v if k == "config" else shorten(v) for k, v in r.items()})
             for r in results]
    path = pathlib.Path(__file__).parents[2] / "tests/fixtures/samplers.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{len(results)} cases -> {path}")


if __name__ == "__main__":
    main()

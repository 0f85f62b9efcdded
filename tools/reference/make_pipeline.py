"""Writes tests/fixtures/pipeline: whole runs of diffusers' AnimateDiffPipeline on CPU in fp32.

NAME.json holds the request, NAME.safetensors the tensors. The pipeline's own __call__ runs
unchanged; only the stochastic schedulers' random draw is replaced (common.injected_noise). Initial
latents and sampler noise are those of base/rng.h for the request's seed, so a request can be
repeated from its seed alone or from the files.
"""
import shutil

import numpy as np
import safetensors.torch
import torch

import common
import rng
import tokenizer

OUT = tokenizer.FIXTURES / "pipeline"
PROMPT = "A photo of a red fox running through tall grass at sunset, highly detailed"
NEGATIVE = "blurry, low quality, watermark"
LONG = ("An ultra-wide cinematic shot of the old harbour's fishing boats, 4k, they're rocking gently; "
        "ÉTÉ, naïve café — 東京 2024 🚀, " * 4)


def request(name, checkpoint, sampler, **changes):
    latent = {"unetmotion3": (12, 10), "unet2d_adapter_v3": (12, 10)}.get(checkpoint, (8, 12))
    return {"name": name, "checkpoint": checkpoint, "sampler": sampler, "prompt": PROMPT,
            "negative_prompt": NEGATIVE, "frames": 8, "steps": 8, "guidance": 7.5, "seed": 1234,
            "latent_height": latent[0], "latent_width": latent[1], **changes}


def requests():
    for checkpoint in ("unetmotion3", "unet2d_adapter_v2", "sharded"):
        for sampler in common.SAMPLERS:
            # LCM is distilled for weak guidance; its authors use 1 to 2.
            extra = {"guidance": 2.0} if sampler == "lcm" else {}
            yield request(f"{checkpoint}-{sampler}", checkpoint, sampler, **extra)
    for checkpoint in ("unet2d_adapter_v3", "fp16"):
        for sampler in ("ddim", "euler", "dpm++_2m"):
            yield request(f"{checkpoint}-{sampler}", checkpoint, sampler)
    yield request("unetmotion3-ddim-unguided", "unetmotion3", "ddim", guidance=1.0)
    yield request("unetmotion3-lcm-unguided", "unetmotion3", "lcm", guidance=1.0)
    yield request("unet2d_adapter_v3-ddim-16frames-longprompt", "unet2d_adapter_v3", "ddim", frames=16,
                  prompt=LONG, negative_prompt="", steps=20, guidance=3.0, seed=2**40 + 7)


def keep_state_fp32(unet):
    """Latents and sampler stay fp32 around a bf16 U-Net, as in our engine."""
    forward = unet.forward

    def widened(sample, *args, **kwargs):
        result = forward(sample.to(unet.dtype), *args, **kwargs)
        result.sample = result.sample.float()
        return result

    unet.forward = widened


@torch.no_grad()
def run(req, dtype):
    pipe = common.load(req["checkpoint"], dtype)
    pipe.scheduler = common.sampler(pipe, req["sampler"])
    shape = (4, req["latent_height"], req["latent_width"])
    frames = range(req["frames"])
    latents = rng.frames_normal(req["seed"], rng.INITIAL, frames, 0, shape)
    noise = [rng.frames_normal(req["seed"], rng.SAMPLER, frames, k, shape) for k in range(req["steps"])]
    queue = iter([common.to_video(n) for n in noise])
    factor = pipe.vae_scale_factor
    if dtype == torch.bfloat16:
        keep_state_fp32(pipe.unet)
    with common.injected_noise(lambda: next(queue)):
        final = pipe(req["prompt"], negative_prompt=req["negative_prompt"], num_frames=req["frames"],
                     height=shape[1] * factor, width=shape[2] * factor, num_inference_steps=req["steps"],
                     guidance_scale=req["guidance"], latents=common.to_video(latents).to(torch.float64 if dtype == torch.float64 else torch.float32),
                     output_type="latent").frames
    decoded = common.to_frames(pipe.decode_latents(final.to(dtype)))
    return pipe, latents, noise, common.to_frames(final), decoded


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for req in requests():
        pipe, latents, noise, final, decoded = run(req, torch.float32)
        _, _, _, exact, exact_decoded = run(req, torch.float64)
        *_, rough, rough_decoded = run(req, torch.bfloat16)
        shown = [0] if pipe.vae_scale_factor > 4 else [0, req["frames"] - 1]
        tensors = {"latents": torch.from_numpy(latents), "final_latents": final, "decoded": decoded[shown].contiguous()}
        if req["sampler"] in common.STOCHASTIC:
            tensors.update({f"noise.{k}": torch.from_numpy(np.ascontiguousarray(n)) for k, n in enumerate(noise)})
        record = {**req, "height": req["latent_height"] * pipe.vae_scale_factor,
                  "width": req["latent_width"] * pipe.vae_scale_factor, "decoded_frames": shown,
                  "scheduler_class": type(pipe.scheduler).__name__,
                  "timesteps": [float(t) for t in pipe.scheduler.timesteps],
                  "rms_final": float(exact.pow(2).mean().sqrt()),
                  "torch_fp32_error": common.relative_error(final, exact),
                  "torch_fp32_decoded_error": common.relative_error(decoded, exact_decoded),
                  "torch_bf16_error": common.relative_error(rough, final),
                  "torch_bf16_decoded_error": max(common.relative_error(rough_decoded[f], decoded[f]) for f in shown)}
        common.write_json(OUT / f"{req['name']}.json", record)
        safetensors.torch.save_file(tensors, OUT / f"{req['name']}.safetensors")
        print(f"{req['name']}: rms {record['rms_final']:.3f}, fp32 error {record['torch_fp32_error']:.1e}, "
              f"decoded {record['torch_fp32_decoded_error']:.1e}; bf16 {record['torch_bf16_error']:.1e}, "
              f"{record['torch_bf16_decoded_error']:.1e}", flush=True)


if __name__ == "__main__":
    main()

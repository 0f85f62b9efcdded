"""Checks a checkpoint against diffusers: the folder loads as an AnimateDiffPipeline, samples, and gives the
same latents as the sampler used in training.

    python tools/demo_model/check.py models/demo [--size 256] [--steps 4]
"""
import argparse
import pathlib
import sys

import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, UNet2DConditionModel

import nets
from sample import sample
from text import encode_text, tokenize

LIMIT = 1e-3


def difference(pipe, prompt, size, steps, guidance):
    """Largest difference of latents, relative to their RMS."""
    side = size // nets.LATENT_SCALE
    noise = torch.randn(1, nets.LATENT_CHANNELS, nets.WINDOW, side, side, generator=torch.Generator().manual_seed(5))
    theirs = pipe(prompt, num_frames=nets.WINDOW, height=size, width=size, num_inference_steps=steps,
                  guidance_scale=guidance, latents=noise.clone(), output_type="latent").frames
    ids = tokenize(pipe.tokenizer, [prompt, ""]).long()
    with torch.no_grad():
        context, empty = encode_text(pipe.text_encoder, ids).split(1)
    ours = sample(pipe.unet, context, empty, nets.alphas_cumprod(), steps, guidance, side,
                  torch.Generator().manual_seed(5))
    return ((ours - theirs).abs().max() / theirs.square().mean().sqrt()).item()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--steps", type=int, default=4)
    options = p.parse_args()
    torch.set_grad_enabled(False)
    pipe = AnimateDiffPipeline.from_pretrained(options.folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    prompt = "a red circle moving in circles over green hills at night"
    found = {"guided": difference(pipe, prompt, options.size, options.steps, 3.0)}
    few = options.folder / "few_step"
    if few.exists():
        parts = {name: kind.from_pretrained(few / name, torch_dtype=torch.float32) for name, kind in
                 (("unet", UNet2DConditionModel), ("motion_adapter", MotionAdapter))}
        pipe = AnimateDiffPipeline.from_pretrained(options.folder, torch_dtype=torch.float32, **parts)
        pipe.set_progress_bar_config(disable=True)
        found["few_step"] = difference(pipe, prompt, options.size, 4, 1.0)
    for name, value in found.items():
        print(f"{name}: relative difference {value:.2e} (limit {LIMIT})")
    return 0 if max(found.values()) < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

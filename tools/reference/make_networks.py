"""Writes tests/fixtures/networks: one forward of every network of the tiny checkpoints, block by block.

CHECKPOINT-NETWORK.safetensors holds inputs, output and named activations, computed in double and
stored in fp32 (weights of fp16 files are widened first). Images and activations are NCHW with
frames folded into N (frame f of batch element b is row b * F + f).
"""
import argparse
import shutil

import safetensors.torch
import torch
from diffusers import AutoencoderKL

import common
import tokenizer

OUT = tokenizer.FIXTURES / "networks"
NAMES = ("unetmotion3", "unet2d_adapter_v2", "unet2d_adapter_v3", "fp16", "sharded")
FRAMES = 3


def save(name, tensors):
    tensors = {k: v if v.dtype == torch.int64 else v.float().contiguous() for k, v in tensors.items()}
    safetensors.torch.save_file(tensors, OUT / f"{name}.safetensors")
    print(name, len(tensors), "tensors, output rms", round(float(tensors["output"].pow(2).mean().sqrt()), 3))


def record(module, wanted, into):
    """Hooks that store the output of every submodule whose dotted name `wanted` accepts."""
    def store(name):
        def hook(_, __, output):
            output = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
            into["act." + name] = output.clone()
        return hook
    return [m.register_forward_hook(store(n)) for n, m in module.named_modules() if wanted(n)]


def is_block(name):
    """conv_in, time_embedding, and every resnet, attention, motion module and resampler."""
    parts = name.split(".")
    if name in ("conv_in", "time_embedding", "conv_norm_out"):
        return True
    return (len(parts) >= 3 and parts[-1].isdigit()
            and parts[-2] in ("resnets", "attentions", "motion_modules", "downsamplers", "upsamplers"))


def unet(name, pipe, generator):
    x = torch.randn(1, 4, FRAMES, 6, 6, generator=generator).double()
    context = torch.randn(1, 77, 32, generator=generator).double()
    tensors = {"sample": common.to_frames(x), "context": context[0], "timestep": torch.tensor([481])}
    hooks = record(pipe.unet, is_block, tensors)
    out = pipe.unet(x, 481, encoder_hidden_states=context.repeat(FRAMES, 1, 1)).sample
    tensors["output"] = common.to_frames(out)
    for hook in hooks:
        hook.remove()
    save(f"{name}-unet", tensors)


def vae(name, vae, factor, generator):
    image = (torch.rand(2, 3, 5 * factor, 6 * factor, generator=generator) * 2 - 1).double()
    latent = torch.randn(2, 4, 5, 6, generator=generator).double()
    is_kl = isinstance(vae, AutoencoderKL)
    if is_kl:
        latent = latent / vae.config.scaling_factor
    hooks, tensors = [], {"image": image, "latent": latent}
    if is_kl:
        hooks = record(vae, lambda n: n.endswith(("conv_in", "mid_block")) or n.split(".")[-2:-1] in
                       (["down_blocks"], ["up_blocks"]), tensors)
    encoded = vae.encode(image)
    if is_kl:  # [N, 8, h, w]: mean, then log variance, before clamping
        tensors["moments"] = encoded.latent_dist.parameters
    else:
        tensors["encoded"] = encoded.latents
    tensors["output"] = vae.decode(latent).sample
    for hook in hooks:
        hook.remove()
    save(f"{name}-vae", tensors)


def text(name, pipe):
    prompts = ["", "a red circle moving in circles over green hills at night", "x" * 300]
    ids = pipe.tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    result = pipe.text_encoder(ids, output_hidden_states=True)
    tensors = {"input_ids": ids, "output": result[0]}
    tensors.update({f"act.layer.{i}": h for i, h in enumerate(result.hidden_states)})
    save(f"{name}-text", tensors)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for index, name in enumerate(NAMES):
        generator = torch.Generator().manual_seed(100 + index)
        pipe = common.load(name, torch.float64)
        unet(name, pipe, generator)
        vae(name, pipe.vae, pipe.vae_scale_factor, generator)
        text(name, pipe)


if __name__ == "__main__":
    main()

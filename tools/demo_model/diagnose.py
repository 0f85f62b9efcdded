"""Where a checkpoint loses what a clip shows: its error at each noise level, on scenes it was trained on and on
others, and what the detectors still read when true clips are noised so far and denoised again.

    python tools/demo_model/diagnose.py --clips 18

The error is that of the velocity (mean square), as training counts it. If the motion survives from a level but not
from the next noisier one, it is decided in between: there training has to be better.
"""
import argparse
import json
import pathlib

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

import nets
from captions import captions_of, forbidden_table
from look import Detectors
from marks import right, shares, truth_of
from render import Canvas, draw_background
from sample import ddim_move, decode, guided, trailing
from scene import sample_scenes
from subject import draw_subject
from text import encode_text, tokenize

HERE = pathlib.Path(__file__).resolve().parent
LEVELS = (949, 849, 749, 649, 549, 449, 299, 149)
TRAINED_SEED, TRAINED_SCENES = 2, 20_000  # as train.py draws its clips with seed 0


class Model:
    """A checkpoint folder's parts in fp32, for torch."""

    def __init__(self, folder):
        weights = "diffusion_pytorch_model.safetensors"
        self.vae = AutoencoderTiny.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
        self.tokenizer = nets.load_tokenizer(folder / "tokenizer")
        self.text = nets.build_text_encoder(len(self.tokenizer)).eval()
        nets.load_text(self.text, {k: v.float() for k, v in load_file(folder / "text_encoder" / "model.safetensors").items()})
        self.unet = nets.join(nets.build_unet(), nets.build_adapter()).eval()
        state = {**load_file(folder / "unet" / weights), **load_file(folder / "motion_adapter" / weights)}
        self.unet.load_state_dict({k: v.float() for k, v in state.items()})
        self.alphas = nets.alphas_cumprod()

    def context(self, captions):
        """Text states of captions, and of nothing."""
        states = encode_text(self.text, tokenize(self.tokenizer, [*captions, ""]).long())
        return states[:-1], states[-1:]


def drawn(count, trained):
    """`count` scenes that training drew, or others."""
    generator = torch.Generator().manual_seed(TRAINED_SEED if trained else 4_242)
    return sample_scenes(TRAINED_SCENES if trained else count, generator, forbidden=forbidden_table())[slice(0, count)]


def latents_of(model, scenes):
    """[N, C, F, h, w] of a window of each scene."""
    canvas, result = Canvas(256, "cpu"), []
    for i in range(len(scenes)):
        one = scenes[torch.tensor([i])]
        clip = draw_subject(one, torch.arange(nets.WINDOW), canvas, draw_background(one, canvas))[0]
        result.append(model.vae.encode(clip * 2 - 1).latents.permute(1, 0, 2, 3))
    return torch.stack(result)


def errors(model, scenes, latents, context):
    """Mean square error of the velocity at each level."""
    result = {}
    for level in LEVELS:
        a, s = model.alphas[level] ** 0.5, (1 - model.alphas[level]) ** 0.5
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(level))
        off = []
        for z, e, c in zip(latents.split(1), noise.split(1), context.split(1)):
            v = guided(model.unet, a * z + s * e, torch.tensor([level]), c, None, 1)
            off.append((v - (a * e - s * z)).square().mean())
        result[level] = round(float(torch.stack(off).mean()), 4)
    return result


def denoised(model, latents, context, empty, level, guidance, steps=20):
    """Clips [N, F, 3, H, W] after noising true latents to `level` and denoising them."""
    times = [t for t in trailing(steps) if t <= level]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(7))
    x = model.alphas[times[0]] ** 0.5 * latents + (1 - model.alphas[times[0]]) ** 0.5 * noise
    for i, t in enumerate(times):
        after = model.alphas[times[i + 1]] if i + 1 < len(times) else torch.ones(())
        v = torch.cat([guided(model.unet, one, torch.tensor([t]), c, empty, guidance)
                       for one, c in zip(x.split(1), context.split(1))])
        x = ddim_move(x, v, model.alphas[t], after)
    return torch.stack([decode(model.vae, z.permute(1, 0, 2, 3)) for z in x])


@torch.no_grad()
def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=HERE.parents[1] / "models" / "demo")
    p.add_argument("--clips", type=int, default=18)
    p.add_argument("--guidance", type=float, default=3.0)
    p.add_argument("--levels", type=int, nargs="*", default=[949, 849, 749, 649, 549])
    options = p.parse_args()
    model = Model(options.model)
    for name, trained in (("trained on", True), ("others", False)):
        scenes = drawn(options.clips, trained)
        context, empty = model.context([c[0] for c in captions_of(scenes, 1, 3)])
        latents = latents_of(model, scenes)
        print(name, "error:", json.dumps(errors(model, scenes, latents, context)), flush=True)
    eyes = Detectors()
    truth = [truth_of(scenes, i) for i in range(len(scenes))]
    for level in options.levels:
        clips = denoised(model, latents, context, empty, level, options.guidance)
        marks = shares([right(eyes.judge(clip), t) for clip, t in zip(clips, truth)])
        print(f"from {level}:", ", ".join(f"{k} {v:.0%}" for k, v in marks.items()), flush=True)


if __name__ == "__main__":
    main()

"""Which words a checkpoint hears: true clips are noised, and their velocity predicted with their own caption and with
one that differs in one attribute.

    python tools/demo_model/hears.py --clips 12

For each attribute and noise level: how often the true caption gives the smaller error (half: it does not matter which
of the two is given), both mean errors, and how far the two predictions are apart, relative to one of them. A word that
moves the prediction by under a hundredth is not heard: no guidance brings out what it asks for.
"""
import argparse
import pathlib

import torch

from captions import TIME_REVERSED, caption
from diagnose import HERE, Model, latents_of
from sample import guided
from scene import COLOURS, MOTIONS, SETTINGS, SHAPES, SPEEDS, TIMES, sample_scenes

LEVELS = (949, 849, 749, 649)
OTHER_SHAPE = {"circle": "square", "square": "circle", "triangle": "star", "star": "heart", "heart": "star",
               "diamond": "square", "ring": "circle"}
DIRECTED = [MOTIONS.index(m) for m in TIME_REVERSED]
MOVING = [m for m in range(len(MOTIONS)) if MOTIONS[m] != "rest"]

# What is changed in a caption -> (motions of the clips, the changed words of a scene's caption)
CHANGES = {
    "direction": (DIRECTED, lambda w: dict(motion=TIME_REVERSED[w["motion"]])),
    "motion": (MOVING, lambda w: dict(motion="rest")),
    "speed": (MOVING, lambda w: dict(speed="slow" if w["speed"] != "slow" else "fast")),
    "shape": (MOVING, lambda w: dict(shape=OTHER_SHAPE[w["shape"]])),
    "colour": (MOVING, lambda w: dict(colour=COLOURS[(COLOURS.index(w["colour"]) + 3) % len(COLOURS)])),
}


def words_of(scenes, i):
    names = dict(colour=COLOURS, shape=SHAPES, motion=MOTIONS, setting=SETTINGS, time=TIMES, speed=SPEEDS)
    return {k: table[int(getattr(scenes, k)[i])] for k, table in names.items()}


def clips_of(model, count, motions, seed):
    """Scenes that training never drew by these seeds, and their latents."""
    motion = torch.tensor(motions)[torch.arange(count) % len(motions)]
    scenes = sample_scenes(count, torch.Generator().manual_seed(seed), fixed={"motion": motion})
    return scenes, latents_of(model, scenes)


@torch.no_grad()
def hears(model, scenes, latents, change, level):
    """(share of clips whose own caption gives the smaller error, both mean errors, relative distance)."""
    device = latents.device
    alpha = model.alphas[level].to(device)
    a, s = alpha ** 0.5, (1 - alpha) ** 0.5
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(level)).to(device)
    rows = []
    for i in range(len(scenes)):
        z, e = latents[i:i + 1], noise[i:i + 1]
        words = words_of(scenes, i)
        context, _ = model.context([caption(**words), caption(**{**words, **change(words)})])
        own, other = (guided(model.unet, a * z + s * e, torch.tensor([level], device=device), c[None], None, 1)
                      for c in context)
        truth = a * e - s * z
        rows.append(torch.stack([(own - truth).square().mean(), (other - truth).square().mean(),
                                 (own - other).norm() / own.norm()]))
    table = torch.stack(rows).double()
    return (table[:, 0] < table[:, 1]).double().mean().item(), *table.mean(0).tolist()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=HERE.parents[1] / "models" / "demo")
    p.add_argument("--clips", type=int, default=12)
    p.add_argument("--levels", type=int, nargs="*", default=LEVELS)
    p.add_argument("--change", nargs="*", choices=CHANGES, default=list(CHANGES))
    options = p.parse_args()
    model = Model(options.model)
    known = {}
    for name in options.change:
        motions, change = CHANGES[name]
        key = tuple(motions)
        if key not in known:
            known[key] = clips_of(model, options.clips, motions, 9_191)
        for level in options.levels:
            share, own, other, far = hears(model, *known[key], change, level)
            print(f"{name:10} from {level}: own caption better in {share:4.0%}, error {own:.5f} against {other:.5f}, "
                  f"predictions {far:.2%} apart", flush=True)


if __name__ == "__main__":
    main()

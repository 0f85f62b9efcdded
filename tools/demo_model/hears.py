"""Which words a checkpoint hears: true clips are noised, and their velocity predicted with their own caption and with
one that differs in one attribute.

    python tools/demo_model/hears.py --clips 12
    python tools/demo_model/hears.py --readings

For each attribute and noise level: how often the true caption gives the smaller error (half: it does not matter which
of the two is given), both mean errors, and how far the two predictions are apart, relative to one of them. A word that
moves the prediction by under a hundredth is not heard: no guidance brings out what it asks for.

--readings asks the text encoder alone: what linear readings of the mean state after a caption's end, trained on 4,000
captions, tell of 1,000 others.
"""
import argparse
import pathlib

import torch
import torch.nn.functional as F

from captions import TIME_REVERSED, caption
from diagnose import HERE, Model, latents_of
from sample import guided
from scene import COLOURS, MOTIONS, SETTINGS, SHAPES, SPEEDS, TIMES, sample_scenes
from text import encode_text, tokenize
from words import CHOICES, after_the_end, lesson

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


def read(states, said, trained=0.8, steps=600):
    """(share right on the last captions of a linear reading trained on the first, share of the commonest answer)."""
    cut = int(len(states) * trained)
    x = (states - states[:cut].mean(0)) / (states[:cut].std(0) + 1e-4)
    head = torch.nn.Linear(x.shape[1], int(said.max()) + 1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(head(x[:cut]), said[:cut]).backward()
        optimizer.step()
    right = (head(x[cut:]).argmax(1) == said[cut:]).double().mean().item()
    return right, torch.bincount(said[cut:]).max().item() / (len(said) - cut)


def readings(model, count=5_000):
    """Prints how well each attribute, and the direction of captions that name one, can be read."""
    torch.manual_seed(0)
    captions, said = lesson(count, 77)
    ids, end = tokenize(model.tokenizer, captions).long(), model.tokenizer.eos_token_id
    with torch.no_grad():
        states = torch.cat([after_the_end(encode_text(model.text, part), part, end)[0] for part in ids.split(100)])
    tables = [(name, said[:, j] >= 0, said[:, j]) for j, name in enumerate(CHOICES)]
    motion = said[:, list(CHOICES).index("motion")]
    for name, kinds in (("circle's way", (0, 1)), ("drift's way", (6, 7))):
        tables.append((name, torch.isin(motion, torch.tensor(kinds)), (motion == kinds[1]).long()))
    for name, which, answer in tables:
        right, commonest = read(states[which], answer[which])
        print(f"{name:12} read in {right:4.0%}, the commonest answer is right in {commonest:.0%}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=HERE.parents[1] / "models" / "demo")
    p.add_argument("--clips", type=int, default=12)
    p.add_argument("--levels", type=int, nargs="*", default=LEVELS)
    p.add_argument("--change", nargs="*", choices=CHANGES, default=list(CHANGES))
    p.add_argument("--readings", action="store_true", help="ask the text encoder alone")
    options = p.parse_args()
    model = Model(options.model)
    if options.readings:
        readings(model)
        return
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

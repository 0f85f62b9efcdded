"""The text encoder's own lesson: what a caption says can be told from its text states, wherever one looks.

The U-Net attends mostly to the positions after a caption's end, and a text encoder that learns only through the U-Net
brings little there of what the U-Net does not use yet: of the first checkpoint's states a linear reading tells setting
and time always, a direction no better than by chance (hears.py --readings). So linear readings of those positions are
trained together with the text encoder, which is held close to what the U-Net already knows.

A reading may be right about a difference that is too small for a U-Net to learn from: after the first run of this stage
direction was read in 100 %, yet "clockwise" and "counterclockwise" moved the states by 0.017 where a colour moves them by
0.85 and a time of day by 10.6. So ways and speeds are also written along directions of their own, at a size fixed here.
"""
import copy
import random

import torch
import torch.nn.functional as F

import nets
from captions import OPEN_MOTION_WORDS, caption
from flat import FlatTrainer, train_for
from scene import COLOURS, MOTIONS, SETTINGS, SHAPES, SIZES, SPEEDS, TIMES
from text import encode_text, tokenize

OPEN_KINDS = 2  # a circle and a drift whose direction is left open
CHOICES = dict(colour=len(COLOURS), shape=len(SHAPES), motion=len(MOTIONS) + OPEN_KINDS, setting=len(SETTINGS),
               time=len(TIMES), speed=len(SPEEDS), size=len(SIZES) + 1)
KEEP = 3.0  # weight of staying close to the old states
GAIN = 4.0  # of what the readings read: they start from nothing and learn faster than the encoder
WRITTEN = 2.0  # how far a way or a speed moves a state from one that leaves it open (a state's norm is about 9)
WAYS = {"clockwise": 1.0, "drift-right": 1.0, "counterclockwise": -1.0, "drift-left": -1.0}
PACES = {"fast": 1.0, "slow": -1.0}


def codes(width, device=None):
    """Two orthonormal directions [2, D] of the text states, for ways and for speeds: the same in every run."""
    return torch.linalg.qr(torch.randn(width, 2, generator=torch.Generator().manual_seed(31)))[0].T.to(device)


def written(said):
    """What captions say of ways and speeds, along their directions: [N, 2], 0 where they leave it open."""
    ways = torch.tensor([WAYS.get(m, 0.0) for m in MOTIONS] + [0.0] * OPEN_KINDS, device=said.device)
    paces = torch.tensor([PACES.get(s, 0.0) for s in SPEEDS], device=said.device)
    columns = list(CHOICES)
    return WRITTEN * torch.stack([ways[said[:, columns.index("motion")]], paces[said[:, columns.index("speed")]]], 1)


def lesson(count, seed):
    """`count` captions, and what each says: indices [count, len(CHOICES)]."""
    rng = random.Random(seed)
    captions, said = [], []
    for _ in range(count):
        colour, shape, motion, setting, time = (rng.randrange(len(n)) for n in (COLOURS, SHAPES, MOTIONS, SETTINGS, TIMES))
        resting = MOTIONS[motion] == "rest"
        speed = SPEEDS.index("normal") if resting else rng.randrange(len(SPEEDS))
        size = rng.choice((len(SIZES), rng.randrange(len(SIZES))))
        left_open = rng.random() < 0.2 and MOTIONS[motion] in OPEN_MOTION_WORDS
        captions.append(caption(
            COLOURS[colour], SHAPES[shape], MOTIONS[motion], SETTINGS[setting], TIMES[time], speed=SPEEDS[speed],
            size=SIZES[size] if size < len(SIZES) else None, shade=rng.choice((None, None, "light", "dark")),
            open_direction=left_open, rng=rng))
        kind = len(MOTIONS) + ("drift" in MOTIONS[motion]) if left_open else motion
        said.append((colour, shape, kind, setting, time, speed, size))
    return captions, torch.tensor(said)


class Readings(torch.nn.Module):
    """One linear reading of a text state for each attribute."""

    def __init__(self, width):
        super().__init__()
        self.heads = torch.nn.ModuleList(torch.nn.Linear(width, n) for n in CHOICES.values())

    def forward(self, states, said):
        """Cross-entropies, one for each attribute. `states` [N, D], `said` [N, len(CHOICES)]."""
        return [F.cross_entropy(head(GAIN * states).float(), said[:, j]) for j, head in enumerate(self.heads)]


def after_the_end(states, ids, end):
    """Mean of the states after each caption's end, and one of them at random: two tensors [N, D]."""
    after = (ids == end).to(states.dtype)
    mean = (states * (after / after.sum(1, keepdim=True))[..., None]).sum(1)
    place = torch.maximum(after.argmax(1), torch.randint(ids.shape[1], (len(ids),), device=ids.device))
    return mean, states.gather(1, place[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]


def train_words(run, text, budget, batch, peak, save, max_steps, count=12_000):
    """Trains `text` alone; returns its averaged state. Needs no pictures. What is written is not held close to the old
    states: there the target is the old state without its part along the two directions, plus what the caption says."""
    old = copy.deepcopy(text).to(run.device, run.dtype).requires_grad_(False)
    captions, said = lesson(count if max_steps is None else 64, run.options.seed)
    ids, said = tokenize(run.tokenizer, captions).to(run.device), said.to(run.device)
    end = run.empty[-1]
    trainer = FlatTrainer({"text": text, "readings": Readings(nets.TEXT_WIDTH)}, run.dtype, run.device, average=0.99)
    readings, parts = trainer.modules["readings"], torch.zeros(len(CHOICES) + 2, device=run.device)
    along = codes(nets.TEXT_WIDTH, run.device)

    def body():
        index = torch.randint(len(ids), (batch,), device=run.device)
        drawn = ids[index].long()
        states = encode_text(text, drawn)
        with torch.no_grad():
            before = encode_text(old, drawn)
        after = after_the_end(states, drawn, end)
        off = torch.stack([sum(pair) / 2 for pair in zip(*(readings(s, said[index]) for s in after))])
        difference = (states - before).float()
        moved = (difference - difference @ along.T @ along).square().mean()
        missed = sum((s.float() @ along.T - written(said[index])).square().mean() for s in after) / 2
        parts.lerp_(torch.cat([off.detach(), moved.detach()[None], missed.detach()[None]]),
                    torch.clamp(1 / (trainer.steps + 1), min=0.1))
        trainer.update(off.mean() + KEEP * moved + missed)

    train_for("words", trainer, body, budget, peak, peak * 0.1, batch, run.log,
              lambda seconds: save(seconds, text=trainer.averaged("text")), warm=20, max_steps=max_steps)
    moved, missed = (round(v.item(), 4) for v in parts[-2:])
    run.log("words", moved=moved, missed=missed, **{k: round(v.item(), 3) for k, v in zip(CHOICES, parts)})
    return trainer.averaged("text")

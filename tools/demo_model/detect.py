"""Detectors for the evaluator: one small network that finds and names a frame's subject and scene.

It is trained on renders alone (never on a model's output), with blurred, half-dissolved and two-subject
pictures as counter-examples, and softened pictures among the good ones, so that a decoder's softness alone
is no reason to refuse.
"""
import time
from dataclasses import replace

import torch
import torch.nn.functional as F

from render import Canvas, draw_background
from scene import COLOURS, HUES, SETTINGS, SHAPES, TIMES, pose, sample_scenes
from subject import draw_subject

SIDE = 64  # pictures are judged at this size
CELLS = 16
BATCH = 48
HEADS = {"colour": len(COLOURS), "shape": len(SHAPES)}  # the shape that counts is read from a crop (shape.py)
SCENE_HEADS = {"setting": len(SETTINGS), "time": len(TIMES)}


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        conv = torch.nn.Conv2d
        self.stem = torch.nn.Sequential(conv(3, 24, 5, 2, 2), torch.nn.ReLU(), conv(24, 32, 3, 1, 1),
                                        torch.nn.ReLU(), conv(32, 64, 3, 2, 1), torch.nn.ReLU())
        self.deep = torch.nn.ModuleList([conv(64, 64, 3, 1, 1) for _ in range(3)])
        self.heat = conv(64, 1, 1)
        self.subject = torch.nn.Linear(64, 96)
        self.names = torch.nn.ModuleDict({k: torch.nn.Linear(96, n) for k, n in HEADS.items()})
        self.place = torch.nn.Linear(96, 3)  # offset from the cell's centre, logarithm of the radius
        self.good = torch.nn.Linear(96 + 64, 1)
        self.scene = torch.nn.Linear(64 * 16, 64)
        self.scene_names = torch.nn.ModuleDict({k: torch.nn.Linear(64, n) for k, n in SCENE_HEADS.items()})

    def forward(self, pictures, cell=None):
        """Logits per head. `cell` [N] is where the subject is (training); else the hottest cell."""
        h = self.stem(pictures - 0.5)
        for layer in self.deep:
            h = h + F.relu(layer(h))
        heat = self.heat(h).flatten(1)
        flat = h.flatten(2)
        where = heat.argmax(1) if cell is None else cell
        at = flat.gather(2, where[:, None, None].expand(-1, flat.shape[1], 1))[..., 0]
        s = F.relu(self.subject(at))
        scene = F.relu(self.scene(F.adaptive_avg_pool2d(h, 4).flatten(1)))
        out = {"heat": heat, "where": where, "place": self.place(s),
               "good": self.good(torch.cat([s, flat.amax(2)], 1))[:, 0]}
        out.update({k: head(s) for k, head in self.names.items()})
        out.update({k: head(scene) for k, head in self.scene_names.items()})
        return out


def shrink(pictures):
    """[N, 3, H, W] to the detectors' size."""
    return F.adaptive_avg_pool2d(pictures, SIDE)


def blur(pictures, sigma):
    """Gaussian blur; sigma in pixels of these pictures."""
    reach = max(1, int(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = (line / line.sum()).repeat(3, 1)
    padded = F.pad(pictures, (reach,) * 4, "replicate")
    return F.conv2d(F.conv2d(padded, line[:, None, :, None], groups=3), line[:, None, None], groups=3)


def spoil(kind, pictures, backgrounds, others):
    """What no detector may accept: 'blurred', 'dissolved' or 'double' pictures."""
    if kind == "blurred":
        return blur(pictures, 0.06 * pictures.shape[-1])
    if kind == "dissolved":
        return 0.42 * pictures + 0.58 * backgrounds
    return others


def second_subject(scenes, frames, canvas, pictures, generator):
    """The pictures with another subject of another colour and shape half a picture away."""
    n = len(scenes)
    draw = lambda k: torch.randint(1, k, (n,), generator=generator)
    colour = (scenes.colour + draw(len(COLOURS))) % len(COLOURS)
    fresh = sample_scenes(n, generator, fixed={"motion": 8})
    x, y, _, _ = pose(scenes, frames)
    far = lambda v: torch.remainder(v.mean(1) + 128 - 40, 176) + 40
    other = replace(fresh, colour=colour, shape=(scenes.shape + draw(len(SHAPES))) % len(SHAPES),
                    cx=far(x), cy=far(y), setting=scenes.setting, time=scenes.time)
    other = replace(other, hue=torch.tensor(HUES)[colour])
    flat = pictures.flatten(0, 1)
    times = len(frames)
    repeated = other[torch.arange(n).repeat_interleave(times)]
    return draw_subject(repeated, torch.zeros(1), canvas, flat).reshape(pictures.shape)


def training_batch(generator, backgrounds=24, subjects=6):
    """Pictures and truths: each background carries several subjects at random moments."""
    canvas = Canvas(128, "cpu")
    back_scenes = sample_scenes(backgrounds, generator)
    back = draw_background(back_scenes, canvas)
    index = torch.arange(backgrounds).repeat_interleave(subjects)
    n = len(index)
    fixed = {k: getattr(back_scenes, k)[index] for k in ("setting", "time")}
    scenes = sample_scenes(n, generator, fixed=fixed)
    zero = torch.zeros(1)
    pictures = draw_subject(scenes, zero, canvas, back[index])
    x, y, radius, _ = (v[:, 0] for v in pose(scenes, zero))
    spoiled = torch.rand(n, generator=generator) < 0.25
    kind = torch.randint(3, (n,), generator=generator)
    flat = pictures[:, 0]
    result = shrink(flat)
    soft = torch.rand(n, generator=generator) < 0.5
    result[soft] = blur(result[soft], 0.3 + 0.5 * torch.rand(1, generator=generator).item())
    for k, name in enumerate(("blurred", "dissolved", "double")):
        pick = (spoiled & (kind == k)).nonzero()[:, 0]
        if len(pick):
            double = second_subject(scenes[pick], zero, canvas, pictures[pick], generator)[:, 0]
            result[pick] = shrink(spoil(name, flat[pick], back[index][pick], double))
    result = result + 0.01 * torch.randn(result.shape, generator=generator)
    step = 256 / CELLS
    column, row = ((v / step).long().clamp(0, CELLS - 1) for v in (x, y))
    truth = dict(colour=scenes.colour, shape=scenes.shape, setting=scenes.setting, time=scenes.time,
                 cell=row * CELLS + column, good=(~spoiled).float(),
                 place=torch.stack([x / step - column - 0.5, y / step - row - 0.5,
                                    torch.log(radius / 36)], 1))
    return result, truth


def loss_of(out, truth):
    good = truth["good"]
    mean = lambda v: (v * good).sum() / good.sum()
    loss = 0.3 * mean(F.cross_entropy(out["heat"], truth["cell"], reduction="none"))
    for k in HEADS:
        loss = loss + mean(F.cross_entropy(out[k], truth[k], reduction="none"))
    for k in SCENE_HEADS:
        loss = loss + 0.5 * F.cross_entropy(out[k], truth[k])
    loss = loss + mean((out["place"] - truth["place"]).abs().sum(1))
    return loss + 0.5 * F.binary_cross_entropy_with_logits(out["good"], good)


def mirrored(pictures, truth):
    """Left and right exchanged; every subject is its own mirror image."""
    row, column = truth["cell"] // CELLS, truth["cell"] % CELLS
    sign = torch.tensor([-1.0, 1.0, 1.0])
    return pictures.flip(3), {**truth, "cell": row * CELLS + CELLS - 1 - column, "place": truth["place"] * sign}


def train_detector(seconds, seed=7, report=print, passes=20, keep=lambda net: None):
    """Trains for a wall-clock budget on renders drawn on the way; each batch is used `passes` times."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = Detector().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    pool, start, step, shown = [], time.monotonic(), 0, 0.0
    while (spent := (time.monotonic() - start) / seconds) < 1:
        if step % passes == 0:
            pool.append(training_batch(generator))
        pictures, truth = pool[torch.randint(len(pool), (1,), generator=generator).item()]
        some = torch.randperm(len(pictures), generator=generator)[:BATCH]
        pictures, truth = pictures[some], {k: v[some] for k, v in truth.items()}
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 30, (1 - spent) / 0.5)
        if step % 2:
            pictures, truth = mirrored(pictures, truth)
        with torch.autocast("cpu", torch.bfloat16):
            out = net(pictures.contiguous(memory_format=torch.channels_last), truth["cell"])
        loss = loss_of({k: v if k == "where" else v.float() for k, v in out.items()}, truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        step += 1
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            keep(net)
            right = {k: round((out[k].argmax(1) == truth[k]).float().mean().item(), 2)
                     for k in (*HEADS, *SCENE_HEADS)}
            report(f"detector: {spent:.0%} step {step} pictures {144 * len(pool)} loss {loss.item():.3f} {right}")
    return net.eval()

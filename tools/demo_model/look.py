"""What the detectors together see: per frame the subject's place, names and hue, per clip names or None."""
from dataclasses import dataclass
import pathlib

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from closeup import SHARP, Closeup, crop
from detect import SCENE_HEADS, Finder, peaks, shrink
from packing import unpacked
from scene import COLOURS, SETTINGS, SHAPES, TIMES
from subject import signed_distance
from track import name_motion

WEIGHTS = pathlib.Path(__file__).resolve().parent / "detectors.safetensors"
CLEAR = 0.5  # score above which something is one clear subject
SURE = 0.5  # mean probability below which a name is None
NAMES = {"colour": COLOURS, "shape": SHAPES, "setting": SETTINGS, "time": TIMES}


@dataclass
class Sight:
    """What is seen in each frame of a clip; every field has one entry (or row) per frame."""

    x: numpy.ndarray  # of the clearest subject, units of a 256x256 picture
    y: numpy.ndarray
    radius: numpy.ndarray
    clear: numpy.ndarray  # 0 .. 1
    second: numpy.ndarray  # the same for the next clearest place
    hue: numpy.ndarray  # degrees
    names: dict  # attribute -> probabilities [T, n]

    @property
    def present(self):
        """Frames with exactly one clear subject."""
        return (self.clear >= CLEAR) & (self.second < CLEAR)

    @property
    def track(self):
        return numpy.stack([self.x, self.y, self.radius], 1)


class Detectors:
    """The trained networks."""

    def __init__(self, weights=WEIGHTS):
        state = unpacked(load_file(weights))
        self.finder, self.closeup = Finder().eval(), Closeup().eval()
        for name in ("finder", "closeup"):
            part = {k.removeprefix(name + "/"): v for k, v in state.items() if k.startswith(name + "/")}
            getattr(self, name).load_state_dict(part)

    @torch.no_grad()
    def watch(self, frames):
        """Sight of frames [T, 3, H, W] in [0, 1]; H and W are multiples of 128."""
        parts = [self._watch(f) for f in frames.split(32)]
        join = lambda pick: numpy.concatenate([pick(p) for p in parts])
        plain = {k: join(lambda p: getattr(p, k)) for k in ("x", "y", "radius", "clear", "second", "hue")}
        return Sight(**plain, names={k: join(lambda p: p.names[k]) for k in NAMES})

    def _watch(self, frames):
        cells, scene = self.finder(shrink(frames))
        sharp = F.adaptive_avg_pool2d(frames, SHARP)
        x, y, radius, heat = peaks(cells)
        places = [x.T.flatten(), y.T.flatten(), radius.T.flatten()]
        twice = sharp.repeat(2, 1, 1, 1)
        for _ in range(2):  # the first look corrects the place, the second one counts
            seen = self.closeup(crop(twice, *places))
            places = self._moved(places, seen["move"])
        clear = torch.sigmoid(seen["clear"]) * (heat.T.flatten() / 0.2).clamp(max=1)
        names = {**{k: seen[k].softmax(1) for k in ("colour", "shape")}, **{k: scene[k].softmax(1) for k in SCENE_HEADS}}
        n = len(frames)
        best = torch.where(clear[:n] >= clear[n:], 0, n) + torch.arange(n)
        other = (best + n) % (2 * n)
        x, y, radius = (v[best] for v in places)
        distance = torch.hypot(torch.remainder(x - places[0][other] + 128, 256) - 128, y - places[1][other])
        second = torch.where(distance > radius, clear[other], 0.0)  # both may have moved to the same subject
        named = {k: v if len(v) == n else v[best] for k, v in names.items()}
        hue = subject_hue(sharp, x, y, radius, named["shape"].argmax(1))
        return Sight(x.numpy(), y.numpy(), radius.numpy(), clear[best].numpy(), second.numpy(), hue.numpy(),
                     {k: v.numpy() for k, v in named.items()})

    @staticmethod
    def _moved(places, move):
        x, y, radius = places
        return [torch.remainder(x + radius * move[:, 0].clamp(-0.6, 0.6), 256), y + radius * move[:, 1].clamp(-0.6, 0.6),
                (radius * torch.exp(move[:, 2].clamp(-0.5, 0.5))).clamp(8, 70)]

    def judge(self, frames, sight=None):
        """Indices (or None) of colour, shape, motion, setting and time of a clip, its motion's period, the share
        of frames with one clear subject, and what was seen in each."""
        sight = sight or self.watch(frames)
        present = sight.present
        accepted = bool(present.mean() >= 0.5)
        found = {"accepted": accepted, "present": float(present.mean()), "motion": None, "period": 0.0,
                 "track": sight.track, "sight": sight}
        for name in NAMES:
            mean = sight.names[name][present].mean(0) if accepted else numpy.zeros(1)
            found[name] = int(mean.argmax()) if mean.max() >= SURE else None
        if accepted:
            found["motion"], found["period"] = name_motion(sight.track, present)
        return found


def subject_hue(pictures, x, y, radius, shape):
    """Hue in degrees of the inner part of each picture's subject, as its saturated pixels have it."""
    parts = crop(pictures, x, y, radius)
    line = torch.linspace(-1.6, 1.6, parts.shape[-1])
    inside = torch.stack([signed_distance(k, line[None, None, :], line[None, :, None])[0] for k in range(len(SHAPES))])
    weight = (inside < -0.10).float()[shape]
    high, low = parts.amax(1), parts.amin(1)
    span = (high - low).clamp(min=1e-4)
    r, g, b = parts.unbind(1)
    hue = torch.where(high == r, torch.remainder((g - b) / span, 6),
                      torch.where(high == g, (b - r) / span + 2, (r - g) / span + 4)) * (torch.pi / 3)
    weight = weight * span ** 2
    s, c = ((weight * f(hue)).sum((1, 2)) for f in (torch.sin, torch.cos))
    return torch.remainder(torch.rad2deg(torch.atan2(s, c)), 360)

"""Scenes of the demo world: what can be in one, how it moves, and how to draw one at random.

A `Scenes` object is a plain batch of tensors (one entry per scene). Everything the picture shows follows
from it, so it is the exact ground truth of every frame.
"""
from dataclasses import dataclass, fields

import torch

COLOURS = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink")
HUES = (0.0, 27.0, 52.0, 125.0, 178.0, 220.0, 274.0, 322.0)  # degrees, the centre of each colour
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "ring")
MOTIONS = ("clockwise", "counterclockwise", "left-right", "up-down", "swing", "pulse",
           "drift-right", "drift-left", "rest")
MOTION_KINDS = ("circle", "left-right", "up-down", "swing", "pulse", "drift", "rest")
KIND_OF_MOTION = (0, 0, 1, 2, 3, 4, 5, 5, 6)
SETTINGS = ("hills", "desert", "sea", "city", "snow", "plain")
TIMES = ("dawn", "day", "sunset", "night")
SIZES = ("small", "medium", "large")
RADII = (27.0, 36.0, 45.0)  # pixels of a 256x256 picture
SPEEDS = ("fast", "normal", "slow")
PERIODS = (14.0, 19.0, 26.0)  # frames; none divides 12, the stride of a window
DRIFT_STRETCH = 2.0  # a drift crosses the picture in twice the period

HUE_JITTER = 6.0  # degrees
SIZE_JITTER = 0.04
PIVOT_Y = 6.0  # where a swinging subject hangs


@dataclass
class Scenes:
    """A batch of scenes; every field has one entry (or row) per scene."""

    colour: torch.Tensor  # index into COLOURS
    shape: torch.Tensor
    motion: torch.Tensor
    setting: torch.Tensor
    time: torch.Tensor
    size: torch.Tensor
    speed: torch.Tensor
    hue: torch.Tensor  # degrees
    light: torch.Tensor  # -1 dark .. 1 light
    radius: torch.Tensor  # pixels
    cx: torch.Tensor  # centre of the path
    cy: torch.Tensor
    reach: torch.Tensor  # radius or half width of the path
    phase: torch.Tensor  # radians at frame 0
    layout: torch.Tensor  # [N, 64] uniform numbers that place hills, stars, windows ...

    def __len__(self):
        return self.colour.shape[0]

    def __getitem__(self, index):
        return Scenes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device):
        return Scenes(**{f.name: getattr(self, f.name).to(device, non_blocking=True)
                         for f in fields(self)})

    @staticmethod
    def cat(parts):
        return Scenes(**{f.name: torch.cat([getattr(p, f.name) for p in parts])
                         for f in fields(Scenes)})


LAYOUT_WIDTH = 64


def period_of(scenes):
    """Frames after which the motion repeats (0 for a resting subject's meaningless period is avoided)."""
    table = torch.tensor(PERIODS, device=scenes.speed.device)
    drift = (scenes.motion == 6) | (scenes.motion == 7)
    return table[scenes.speed] * torch.where(drift, DRIFT_STRETCH, 1.0)


def sample_scenes(count, generator, fixed=None, forbidden=None):
    """Draws `count` scenes. `fixed` pins categorical fields to tensors or ints; `forbidden` is a boolean
    table over (colour, shape, motion, setting, time) whose True entries are never drawn."""
    fixed = fixed or {}

    def pick(name, limit, n):
        if name in fixed:
            return torch.as_tensor(fixed[name]).expand(n).clone()
        return torch.randint(limit, (n,), generator=generator)

    limits = (("colour", len(COLOURS)), ("shape", len(SHAPES)), ("motion", len(MOTIONS)),
              ("setting", len(SETTINGS)), ("time", len(TIMES)))
    kept = []
    have = 0
    while have < count:
        n = count if forbidden is None else count - have + 64
        draw = torch.stack([pick(name, limit, n) for name, limit in limits])
        if forbidden is not None:
            draw = draw[:, ~forbidden[tuple(draw)]]
        kept.append(draw)
        have += draw.shape[1]
    values = torch.cat(kept, 1)[:, :count]
    named = dict(zip((name for name, _ in limits), values))
    size = pick("size", len(SIZES), count)
    speed = pick("speed", len(SPEEDS), count)

    def uniform(low, high):
        return low + (high - low) * torch.rand(count, generator=generator)

    radius = torch.tensor(RADII)[size] * (1 + SIZE_JITTER * uniform(-1, 1))
    hue = torch.tensor(HUES)[named["colour"]] + HUE_JITTER * uniform(-1, 1)
    light = uniform(-1, 1)
    motion = named["motion"]
    reach, cx, cy = _place_path(motion, radius, uniform)
    phase = uniform(0, 2 * torch.pi)
    layout = torch.rand(count, LAYOUT_WIDTH, generator=generator)
    return Scenes(size=size, speed=speed, hue=hue % 360, light=light, radius=radius, cx=cx, cy=cy,
                  reach=reach, phase=phase, layout=layout, **named)


def _place_path(motion, radius, uniform):
    """Path size and centre such that the subject stays inside the picture."""
    margin = radius * 1.06 + 3
    room = 128 - margin  # how far the centre may be from the middle of the picture
    reach = torch.where(motion <= 1, (0.55 + 0.3 * uniform(0, 1)) * room, room)
    reach = torch.where(motion == 2, (0.72 + 0.28 * uniform(0, 1)) * room, reach)
    reach = torch.where(motion == 3, (0.6 + 0.25 * uniform(0, 1)) * room, reach)
    reach = torch.where(motion == 4, 105 + 25 * uniform(0, 1) - 0.35 * (radius - 36), reach)
    free_x = room - torch.where((motion == 0) | (motion == 1) | (motion == 2), reach,
                                torch.zeros_like(reach))
    free_y = room - torch.where((motion <= 1) | (motion == 3), reach, torch.zeros_like(reach))
    free_x = torch.where(motion == 4, 22 * torch.ones_like(reach), free_x)
    free_x = torch.where(motion == 5, free_x * 0.6, free_x)
    free_y = torch.where(motion == 5, free_y * 0.5, free_y)
    free_x = torch.where(motion == 8, free_x * 0.75, free_x)
    cx = 128 + free_x * uniform(-1, 1)
    cy = 128 + free_y * uniform(-1, 1) * 0.8
    cx = torch.where((motion == 6) | (motion == 7), 128 * torch.ones_like(cx), cx)
    cy = torch.where(motion == 4, PIVOT_Y * torch.ones_like(cy), cy)
    return reach, cx, cy


SWING_ANGLE = 0.62  # radians
PULSE_DEPTH = 0.28


def pose(scenes, frames):
    """Pose of every scene's subject at `frames` [T]: (x, y, radius, angle), each [N, T]."""
    t = frames.to(torch.float32)[None, :]
    phi = scenes.phase[:, None] + 2 * torch.pi * t / period_of(scenes)[:, None]
    motion = scenes.motion[:, None]
    cx, cy, reach = scenes.cx[:, None], scenes.cy[:, None], scenes.reach[:, None]
    zero = torch.zeros_like(phi)
    x, y = cx + zero, cy + zero
    radius = scenes.radius[:, None] + zero
    turn = torch.where(motion == 0, 1.0, -1.0)
    circling = motion <= 1
    x = torch.where(circling, cx + reach * torch.cos(phi), x)
    y = torch.where(circling, cy + reach * turn * torch.sin(phi), y)
    to_and_fro = torch.asin(0.97 * torch.sin(phi)) / torch.asin(torch.tensor(0.97, device=phi.device))
    x = torch.where(motion == 2, cx + reach * to_and_fro, x)
    u = torch.remainder(phi / (2 * torch.pi), 1.0)
    y = torch.where(motion == 3, cy + reach - 2 * reach * 4 * u * (1 - u), y)
    angle = torch.where(motion == 4, SWING_ANGLE * torch.sin(phi), zero)
    x = torch.where(motion == 4, cx + reach * torch.sin(angle), x)
    y = torch.where(motion == 4, cy + reach * torch.cos(angle), y)
    radius = torch.where(motion == 5, radius * (1 - PULSE_DEPTH * (0.5 - 0.5 * torch.sin(phi)) * 1.6),
                         radius)
    along = torch.where(motion == 6, 1.0, -1.0) * 256 * phi / (2 * torch.pi)
    x = torch.where((motion == 6) | (motion == 7), torch.remainder(cx + along, 256.0), x)
    return x, y, radius, -angle

"""Pictures that no detector may accept: blurred, half dissolved, or with two subjects."""
from dataclasses import replace

import torch
import torch.nn.functional as F

from scene import COLOURS, HUES, SHAPES, pose, sample_scenes
from subject import draw_subject

KINDS = ("blurred", "dissolved", "double")
BLUR = 0.06  # of the picture's width, standard deviation
OPACITY = 0.42  # of a half dissolved subject


def blur(pictures, sigma):
    """Gaussian blur; sigma in pixels of these pictures."""
    reach = max(1, int(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = (line / line.sum()).repeat(3, 1)
    padded = F.pad(pictures, (reach,) * 4, "replicate")
    return F.conv2d(F.conv2d(padded, line[:, None, :, None], groups=3), line[:, None, None], groups=3)


def spoil(kind, pictures, backgrounds, others, width=BLUR, opacity=OPACITY):
    """Spoiled pictures; `others` are the same ones with a second subject."""
    if kind == "blurred":
        return blur(pictures, width * pictures.shape[-1])
    if kind == "dissolved":
        return opacity * pictures + (1 - opacity) * backgrounds
    return others


def second_subject(scenes, frames, canvas, pictures, generator):
    """(pictures with another subject of another colour and shape half a picture away, that subject's scenes)."""
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
    repeated = other[torch.arange(n).repeat_interleave(len(frames))]
    return draw_subject(repeated, torch.zeros(1), canvas, flat).reshape(pictures.shape), other

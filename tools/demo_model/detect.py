"""The evaluator's first look: a small network that finds subjects and names setting and time of day."""
import torch
import torch.nn.functional as F

from scene import SETTINGS, TIMES

SIDE = 64  # pictures are looked at in this size
CELLS = 16
SCENE_HEADS = {"setting": len(SETTINGS), "time": len(TIMES)}
MIDDLE = 34.0  # pixels of a 256x256 picture; radii are told as logarithms of their ratio to this


class Finder(torch.nn.Module):
    """Per cell of a 16x16 grid: whether a clear subject's middle is there, and where exactly and how large."""

    def __init__(self, wide=64):
        super().__init__()
        conv = torch.nn.Conv2d
        self.stem = torch.nn.ModuleList([conv(3, 24, 5, 2), conv(24, 40, 3), conv(40, wide, 3, 2)])
        self.deep = torch.nn.ModuleList([conv(wide, wide, 3) for _ in range(5)])
        self.cells = conv(wide, 4, 1)  # heat, place in the cell (2), logarithm of the radius
        self.scene = torch.nn.Linear(wide * 16, 64)
        self.scene_names = torch.nn.ModuleDict({k: torch.nn.Linear(64, n) for k, n in SCENE_HEADS.items()})

    def forward(self, pictures):
        """(cells [N, 4, 16, 16], logits per scene head)."""
        h = pictures - 0.5
        for layer in self.stem:
            h = F.relu(layer(_around(h, layer.kernel_size[0] // 2)))
        for layer in self.deep:
            h = h + F.relu(layer(_around(h, 1)))
        scene = F.relu(self.scene(F.adaptive_avg_pool2d(h, 4).flatten(1)))
        return self.cells(h), {k: head(scene) for k, head in self.scene_names.items()}


def _around(h, by):
    """Padding: left and right border meet, as for a drifting subject; above and below is nothing."""
    return F.pad(F.pad(h, (by, by, 0, 0), "circular"), (0, 0, by, by))


def shrink(pictures):
    """[N, 3, H, W] to the finder's size."""
    return F.adaptive_avg_pool2d(pictures, SIDE)


def cell_targets(x, y, radius, here):
    """Targets of the finder for subjects [N, K] (`here` tells which exist): heat [N, 16, 16], place and size
    [N, 3, 16, 16] of each cell's nearest subject, and the cells near enough for those to count."""
    line = torch.arange(CELLS) + 0.5
    step = 256 / CELLS
    dx = torch.remainder(x[:, :, None, None] / step - line + 8, 16) - 8  # [N, K, 1, 16]
    dy = y[:, :, None, None] / step - line[:, None]
    far = torch.where(here[:, :, None, None], dx ** 2 + dy ** 2, 1e4)
    near, which = far.min(1)
    pick = lambda v: v.expand_as(far).gather(1, which[:, None])[:, 0]
    size = torch.log(radius / MIDDLE)[:, :, None, None]
    place = torch.stack([pick(dx), pick(dy), pick(size)], 1)
    return torch.exp(-near / 0.8), place, near < 1.3


def finder_loss(found, truth):
    """Sum of the losses of heat, places and scene names."""
    (cells, names), target = found, truth
    heat, place, near = cell_targets(target["x"], target["y"], target["radius"], target["clear"])
    weight = 1 + 8 * heat
    loss = (weight * F.binary_cross_entropy_with_logits(cells[:, 0], heat, reduction="none")).mean() * 10
    off = (cells[:, 1:] - place).abs().sum(1)
    loss = loss + (off * near).sum() / near.sum().clamp(min=1)
    return loss + sum(0.5 * F.cross_entropy(names[k], target[k]) for k in SCENE_HEADS)


def peaks(cells, count=2):
    """The `count` strongest places of each picture: x, y, radius, heat, each [N, count]. A place within one
    radius of a stronger one is no place of its own."""
    n = len(cells)
    heat = torch.sigmoid(cells[:, 0]).flatten(1).clone()
    line = torch.arange(CELLS) + 0.5
    step = 256 / CELLS
    column, row = line.repeat(CELLS), line.repeat_interleave(CELLS)
    place = cells[:, 1:].flatten(2)
    xs, ys = (column + place[:, 0]) * step, (row + place[:, 1]) * step
    radii = MIDDLE * torch.exp(place[:, 2].clamp(-1.2, 0.6))
    found = []
    for _ in range(count):
        value, at = heat.max(1)
        x, y, r = (v.gather(1, at[:, None]) for v in (xs, ys, radii))
        found.append((torch.remainder(x, 256), y, r, value[:, None]))
        dx = torch.remainder(column * step - x + 128, 256) - 128
        heat = torch.where(dx ** 2 + (row * step - y) ** 2 < (1.15 * r).clamp(min=28) ** 2, 0.0, heat)
    return tuple(torch.cat(v, 1) for v in zip(*found)) if n else (torch.zeros(0, count),) * 4

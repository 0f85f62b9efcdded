"""Names a subject's shape from a crop that the tracker has centred and scaled."""
import time

import torch
import torch.nn.functional as F

from detect import blur
from render import Canvas, draw_background
from scene import SHAPES, pose, sample_scenes
from subject import draw_subject

CROP = 36  # pixels of a crop
SPAN = 1.5  # radii from its centre to its border


class ShapeNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        conv, relu = torch.nn.Conv2d, torch.nn.ReLU
        self.layers = torch.nn.Sequential(
            conv(3, 24, 3, 1, 1), relu(), conv(24, 32, 3, 2, 1), relu(), conv(32, 48, 3, 2, 1), relu(),
            conv(48, 64, 3, 2, 1), relu(), torch.nn.Flatten(), torch.nn.Linear(64 * 25, 96), relu(),
            torch.nn.Linear(96, len(SHAPES)))

    def forward(self, crops):
        return self.layers(crops - crops.mean((2, 3), keepdim=True))


def crop(pictures, x, y, radius):
    """Crops [N, 3, CROP, CROP] of pictures [N, 3, H, W]; places and radii in units of a 256x256 picture.
    Left and right borders meet, as for a drifting subject."""
    line = torch.linspace(-SPAN, SPAN, CROP)
    gx = (x[:, None] + radius[:, None] * line) / 128 - 1
    gy = (y[:, None] + radius[:, None] * line) / 128 - 1
    gx = torch.remainder(gx + 1, 2) - 1
    grid = torch.stack([gx[:, None, :].expand(-1, CROP, -1), gy[:, :, None].expand(-1, -1, CROP)], -1)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def crops_and_shapes(generator, backgrounds=24, subjects=8):
    """Crops with the tracker's kind of error, half of them softened, and their shapes."""
    canvas = Canvas(128, "cpu")
    scenes = sample_scenes(backgrounds * subjects, generator)
    back = draw_background(scenes[torch.arange(backgrounds)], canvas).repeat(subjects, 1, 1, 1)
    zero = torch.zeros(1)
    pictures = draw_subject(scenes, zero, canvas, back)[:, 0]
    soft = torch.rand(len(scenes), generator=generator) < 0.5
    pictures[soft] = blur(pictures[soft], 0.5 + 1.3 * torch.rand(1, generator=generator).item())
    x, y, radius, _ = (v[:, 0] for v in pose(scenes, zero))
    error = lambda scale: scale * torch.randn(len(scenes), generator=generator).clamp(-2, 2)
    crops = crop(pictures, x + radius * error(0.08), y + radius * error(0.08), radius * (1 + error(0.07)))
    return crops + 0.01 * torch.randn(crops.shape, generator=generator), scenes.shape


def train_shapes(seconds, seed=8, report=print, passes=12):
    """Trains for a wall-clock budget; each batch of renders is used about `passes` times."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = ShapeNet()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=2e-2)
    pool, start, step = [], time.monotonic(), 0
    while (spent := (time.monotonic() - start) / seconds) < 1:
        if step % passes == 0:
            pool.append(crops_and_shapes(generator))
        crops, shapes = pool[torch.randint(len(pool), (1,), generator=generator).item()]
        some = torch.randperm(len(crops), generator=generator)[:96]
        crops, shapes = crops[some], shapes[some]
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 20, (1 - spent) / 0.5)
        out = net(crops.flip(3) if step % 2 else crops)
        loss = F.cross_entropy(out, shapes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 40 == 0:
            right = (out.argmax(1) == shapes).float().mean().item()
            report(f"shapes: {spent:.0%} step {step} crops {192 * len(pool)} loss {loss.item():.3f} right {right:.2f}")
    return net.eval()

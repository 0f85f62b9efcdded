"""The evaluator's second look: a crop around one place names shape and colour, and tells whether it is clear."""
import torch
import torch.nn.functional as F

from scene import COLOURS, SHAPES

CROP = 40  # pixels of a crop
SPAN = 1.6  # radii from its centre to its border
HEADS = {"colour": len(COLOURS), "shape": len(SHAPES)}
SHARP = 128  # pictures are cropped from this size


class Closeup(torch.nn.Module):
    def __init__(self):
        super().__init__()
        conv = torch.nn.Conv2d
        self.first = conv(3, 32, 3, 1, 1)
        self.second, self.second_more = conv(32, 48, 3, 2, 1), conv(48, 48, 3, 1, 1)
        self.third, self.third_more = conv(48, 64, 3, 2, 1), conv(64, 64, 3, 1, 1)
        self.last = conv(64, 64, 3, 2, 1)
        self.mix = torch.nn.Linear(64 * 25, 96)
        self.names = torch.nn.ModuleDict({k: torch.nn.Linear(96, n) for k, n in HEADS.items()})
        self.clear = torch.nn.Linear(96, 1)
        self.move = torch.nn.Linear(96, 3)

    def forward(self, crops):
        """Logits per name, of being one clear subject, and the subject's place in the crop: x and y in radii
        of the crop, and the logarithm of its radius over the crop's."""
        h = F.relu(self.first(crops - 0.5))
        h = F.relu(self.second(h))
        h = h + F.relu(self.second_more(h))
        h = F.relu(self.third(h))
        h = h + F.relu(self.third_more(h))
        h = F.relu(self.mix(F.relu(self.last(h)).flatten(1)))
        return {**{k: head(h) for k, head in self.names.items()}, "clear": self.clear(h)[:, 0],
                "move": self.move(h)}


def crop(pictures, x, y, radius):
    """Crops [N, 3, CROP, CROP] of pictures [N, 3, H, W]; places and radii in units of a 256x256 picture.
    Left and right borders meet, as for a drifting subject."""
    line = torch.linspace(-SPAN, SPAN, CROP)
    gx = (x[:, None] + radius[:, None] * line) / 128 - 1
    gy = (y[:, None] + radius[:, None] * line) / 128 - 1
    gx = torch.remainder(gx + 1, 2) - 1
    grid = torch.stack([gx[:, None, :].expand(-1, CROP, -1), gy[:, :, None].expand(-1, -1, CROP)], -1)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def closeup_loss(seen, truth):
    """`truth` has a subject's names, where it is in the crop, and whether it is clear; what is not clear has no
    names. `doubtful` crops are neither clear nor unclear."""
    clear, sure = truth["clear"].float(), 1 - truth["doubtful"].float()
    mean = lambda v: (v * clear).sum() / clear.sum().clamp(min=1)
    loss = (sure * F.binary_cross_entropy_with_logits(seen["clear"], clear, reduction="none")).mean()
    for k in HEADS:
        loss = loss + mean(F.cross_entropy(seen[k], truth[k], reduction="none"))
    return loss + 3 * mean((seen["move"] - truth["move"]).abs().sum(1))

"""What the detectors together see in a clip: names, or None where they are not sure, and the track."""
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from detect import CELLS, SCENE_HEADS, Detector, shrink, train_detector
from shape import ShapeNet, crop, train_shapes
from track import name_motion

SURE = 0.5  # mean probability below which a detector says None


class Detectors:
    """The trained networks, read from `folder` or trained and kept there."""

    def __init__(self, folder, seconds):
        self.frames = self._get(folder / "detector.safetensors", Detector, train_detector, seconds)
        self.shapes = self._get(folder / "shapes.safetensors", ShapeNet, train_shapes, seconds / 2)

    @staticmethod
    def _get(path, kind, train, seconds):
        if path.exists():
            net = kind()
            net.load_state_dict(load_file(path))
            return net.eval()
        net = train(seconds)
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
        return net

    @torch.no_grad()
    def judge(self, frames):
        """Indices (or None) of colour, shape, motion, setting and time of a clip [T, 3, H, W] in [0, 1],
        its motion's period, and the share of frames with one clear subject."""
        out = self.frames(shrink(frames))
        good = torch.sigmoid(out["good"])
        step = 256 / CELLS
        row, column = out["where"] // CELLS, out["where"] % CELLS
        x = (column + 0.5 + out["place"][:, 0]) * step
        y = (row + 0.5 + out["place"][:, 1]) * step
        radius = 36 * torch.exp(out["place"][:, 2])
        logits = {"colour": out["colour"], **{k: out[k] for k in SCENE_HEADS},
                  "shape": self.shapes(crop(F.adaptive_avg_pool2d(frames, 128), x, y, radius))}
        accepted = bool(good.median() >= 0.5)
        found = {"accepted": accepted, "present": float((good >= 0.5).float().mean()), "motion": None,
                 "period": 0.0, "track": torch.stack([x, y, radius], 1).numpy()}
        for name, values in logits.items():
            mean = values.softmax(1).mean(0)
            found[name] = int(mean.argmax()) if accepted and mean.max() >= SURE else None
        if accepted:
            found["motion"], found["period"] = name_motion(found["track"])
        return found

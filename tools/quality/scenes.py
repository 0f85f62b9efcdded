"""Ground-truth scenes for the measures of given frames: rendered videos, and where their subject is.

The subject of a frame is the disc of its size that differs most from the scene's background; its place
is the middle of that difference, weighted by how much. On the truth passed through the autoencoder this
misses by 0.006 of the picture's width (mean of 20 scenes). Needs torch, numpy and Pillow.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "demo_model"))
from captions import caption, evaluation_scenes  # noqa: E402
from render import Canvas, draw_background  # noqa: E402
from scene import (COLOURS, MOTIONS, SETTINGS, SHAPES, SIZES, SPEEDS, TIMES,  # noqa: E402
                   sample_scenes)
from subject import draw_subject  # noqa: E402

SIDE = 256
CELLS = 64  # the grid on which a subject is looked for
MOVING = (0, 1, 2, 3, 4)  # circling, bouncing, swinging: paths without jumps
BLOCK = 20  # scenes drawn at once
PRESENT = 0.35  # of the true subject's difference; below that a frame has no subject


class Scene:
    """One scene: its true frames [T, H, W, 3], its background and the prompt that says all of it."""

    def __init__(self, row, drawn, frames, other_setting=False):
        canvas = Canvas(SIDE, "cpu")
        back = draw_background(drawn, canvas)
        self.truth = to_bytes(draw_subject(drawn, torch.arange(frames), canvas, back)[0])
        self.background = to_bytes(back)[0]
        self.radius = float(drawn.radius[0])
        self.row = row
        setting = row[3]
        self.wanted_setting = (setting + 1 + row[0] % (len(SETTINGS) - 1)) % len(SETTINGS)
        if other_setting:
            setting = self.wanted_setting
        self.prompt = caption(COLOURS[row[0]], SHAPES[row[1]], MOTIONS[row[2]], SETTINGS[setting],
                              TIMES[row[4]], speed=SPEEDS[int(drawn.speed[0])], size=SIZES[int(drawn.size[0])])
        self.true_path = [place(f, self.background, self.radius) for f in self.truth]

    def misses(self, frames, numbers):
        """(distance from the true path in picture widths, whether the subject is there) of made frames that stand for
        the true ones of these numbers; half a width where it is not."""
        result = []
        for frame, number in zip(frames, numbers, strict=True):
            real, strength = self.true_path[number]
            where, made = place(frame, self.background, self.radius)
            there = made >= PRESENT * strength
            result.append((float(numpy.linalg.norm(where - real)) / SIDE if there else 0.5, there))
        return result


def scenes(options, frames, other_setting=False):
    """(number, scene) of --scenes evaluation scenes whose subject moves, from number --first on; a number's scene is
    the same in every run, as they are drawn by the twenty."""
    rows = [r for r in evaluation_scenes() if r[2] in MOVING]
    last = options.first + options.scenes
    if options.first < 0 or options.scenes < 1 or last > len(rows):
        raise SystemExit(f"--first {options.first} and --scenes {options.scenes} ask for scenes {options.first} to {last - 1}, "
                         f"but there are 0 to {len(rows) - 1}")
    columns = ("colour", "shape", "motion", "setting", "time")
    for number in range(options.first, last):
        block, at = divmod(number, BLOCK)
        if at == 0 or number == options.first:
            every = rows[block * BLOCK:(block + 1) * BLOCK]
            fixed = {name: torch.tensor([r[i] for r in every]) for i, name in enumerate(columns)}
            drawn = sample_scenes(len(every), torch.Generator().manual_seed(1 + block), fixed=fixed)
        yield number, Scene(rows[number], drawn[torch.tensor([at])], frames, other_setting)


def place(frame, background, radius):
    """(the subject's middle, how strongly its disc differs from the background)."""
    step = SIDE // CELLS
    difference = numpy.abs(frame.astype(float) - background.astype(float)).max(axis=2)
    difference = difference.reshape(CELLS, step, CELLS, step).mean((1, 3))
    difference = numpy.where(difference > 40, difference, 0)
    away = (numpy.arange(CELLS) + CELLS // 2) % CELLS - CELLS // 2
    disc = (numpy.hypot(away, away[:, None]) * step <= radius).astype(float)
    sums = numpy.fft.irfft2(numpy.fft.rfft2(difference) * numpy.conj(numpy.fft.rfft2(disc)), s=(CELLS, CELLS))
    row, column = numpy.unravel_index(sums.argmax(), sums.shape)
    y, x = (numpy.mgrid[:CELLS, :CELLS] + 0.5) * step
    middle = numpy.array([(column + 0.5) * step, (row + 0.5) * step])
    for _ in range(3):
        weight = difference * (numpy.hypot(x - middle[0], y - middle[1]) <= 1.2 * radius)
        if weight.sum() <= 0:
            return middle, 0.0
        middle = numpy.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    return middle, float(sums[row, column] / disc.sum())


def to_bytes(pictures):  # [T, 3, H, W] in [0, 1] -> [T, H, W, 3]
    return (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def write_video(path, frames):
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}",
               "-r", "8", "-i", "-", "-c:v", "libx264rgb", "-qp", "0", str(path)]
    subprocess.run(command, input=numpy.ascontiguousarray(frames).tobytes(), check=True)


def generate(options, video, arguments):
    """Frames [H, W, 3] of `seamwright generate` with a video of `frames` to start from; VIDEO among the
    arguments stands for its file."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_video(folder / "video.mp4", video)
        words = [str(folder / "video.mp4") if w == "VIDEO" else w for w in arguments]
        subprocess.run([options.program, "generate", "--model", options.model, "--quiet", *words,
                        *options.arguments, "--out", str(folder / "made") + "/"],
                       check=True, stdout=subprocess.DEVNULL)
        return [numpy.asarray(Image.open(f).convert("RGB")) for f in sorted((folder / "made").glob("*.png"))]


def add_options(parser, model):
    parser.add_argument("--program", default="build/seamwright")
    parser.add_argument("--model", default=model)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first of them; a scene's seed is its number")
    parser.add_argument("--report", type=pathlib.Path, help="write the numbers as JSON")
    parser.add_argument("arguments", nargs="*", help="behind --: more options of generate")


def finish(options, results, keys):
    mean = {k: float(numpy.mean([r[k] for r in results])) for k in keys}
    print("mean: " + ", ".join(f"{k} {v:.3f}" for k, v in mean.items()))
    if options.report:
        options.report.write_text(json.dumps({"mean": mean, "scenes": results}, indent=1) + "\n")

"""How well a hole in a video is filled: the subject's distance from its true path, against blending.

    python3 tools/quality/fill_holes.py --program build/seamwright --model models/demo/few_step

Draws evaluation scenes of the demo model whose subject moves, 48 frames each, takes out the 16 in the
middle, and has them made again (`--input-video --missing`). In each of these frames the subject is where
the picture differs from the scene's background; the distance of its middle from that of the true frame is
given in parts of the picture's width, the mean over the hole and over scenes. Linear blending of the two
frames beside the hole is measured the same way. A frame without any subject counts as half the width.
Needs torch, numpy and Pillow.
"""
import argparse
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
from scene import COLOURS, MOTIONS, SETTINGS, SHAPES, TIMES, sample_scenes  # noqa: E402
from subject import draw_subject  # noqa: E402

FRAMES, FIRST, LAST = 48, 16, 31
SIDE = 256
MOVING = (0, 1, 2, 3, 4)  # circling, bouncing, swinging: paths without jumps


def scenes(count):
    rows = [r for r in evaluation_scenes() if r[2] in MOVING][:count]
    fixed = {name: torch.tensor([r[i] for r in rows])
             for i, name in enumerate(("colour", "shape", "motion", "setting", "time"))}
    return rows, sample_scenes(len(rows), torch.Generator().manual_seed(1), fixed=fixed)


def to_bytes(pictures):  # [T, 3, H, W] in [0, 1] -> [T, H, W, 3]
    return (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def write_video(path, frames):
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}",
               "-r", "8", "-i", "-", "-c:v", "libx264rgb", "-qp", "0", str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)


def middle(frame, background):
    """The middle of what differs from the background, weighted by how much; None where little does."""
    difference = numpy.abs(frame.astype(float) - background.astype(float)).max(axis=2)
    weight = numpy.where(difference > 60, difference, 0)
    if (weight > 0).sum() < 100:
        return None
    y, x = numpy.mgrid[:SIDE, :SIDE]
    return numpy.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def error(frames, truth, background):
    distances = []
    for made, real in zip(frames, truth):
        a, b = middle(made, background), middle(real, background)
        if b is not None:
            distances.append(0.5 if a is None else numpy.linalg.norm(a - b) / SIDE)
    return float(numpy.mean(distances))


def blended(truth):
    before, after = truth[FIRST - 1].astype(float), truth[LAST + 1].astype(float)
    count = LAST - FIRST + 2
    return [((before * (count - i) + after * i) / count).round() for i in range(1, count)]


def filled(options, video, prompt, folder, seed):
    out = folder / "made"
    subprocess.run([options.program, "generate", "--model", options.model, "--prompt", prompt, "--seed",
                    str(seed), "--input-video", str(video), "--missing", f"{FIRST}-{LAST}", "--quiet",
                    "--out", str(out) + "/", *options.arguments], check=True, stdout=subprocess.DEVNULL)
    return [numpy.asarray(Image.open(f).convert("RGB")) for f in sorted(out.glob("*.png"))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default="build/seamwright")
    parser.add_argument("--model", default="models/demo/few_step")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--report", help="write the numbers as JSON")
    parser.add_argument("arguments", nargs="*", help="behind --: options of generate, such as --coherence causal")
    options = parser.parse_args()
    rows, drawn = scenes(options.scenes)
    canvas = Canvas(SIDE, "cpu")
    results = []
    for i, row in enumerate(rows):
        one = drawn[torch.tensor([i])]
        back = draw_background(one, canvas)
        truth = to_bytes(draw_subject(one, torch.arange(FRAMES), canvas, back)[0])
        background = to_bytes(back)[0]
        prompt = caption(COLOURS[row[0]], SHAPES[row[1]], MOTIONS[row[2]], SETTINGS[row[3]], TIMES[row[4]])
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_video(folder / "truth.mp4", truth)
            made = filled(options, folder / "truth.mp4", prompt, folder, i)
        hole = slice(FIRST, LAST + 1)
        known = [f for f in range(FRAMES) if not FIRST <= f <= LAST]
        results.append({"prompt": prompt, "filled": error(made[hole], truth[hole], background),
                        "blended": error(blended(truth), truth[hole], background),
                        "known": error([made[f] for f in known], truth[known], background)})
        print(f"{results[-1]['filled']:.3f} {results[-1]['blended']:.3f} "
              f"{results[-1]['known']:.3f}  {prompt}", flush=True)
    summary = {k: float(numpy.mean([r[k] for r in results])) for k in ("filled", "blended", "known")}
    print("mean distance from the true path in widths: "
          + ", ".join(f"{k} {v:.3f}" for k, v in summary.items()))
    if options.report:
        pathlib.Path(options.report).write_text(json.dumps({"mean": summary, "scenes": results}, indent=1))


if __name__ == "__main__":
    main()

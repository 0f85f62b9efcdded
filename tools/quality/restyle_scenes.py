"""Video to video: whether the setting becomes the prompted one while the subject keeps its path.

    python3 tools/quality/restyle_scenes.py --program build/seamwright --eyes out/evaluation --scenes 10

Draws evaluation scenes of the demo model whose subject moves (scenes.py), has each made again with a prompt that
names another setting (`--input-video --strength`), and lets the evaluator's detectors (tools/demo_model, kept
in --eyes, trained there when absent) name the setting and follow the subject. The path's error is the mean distance
from the detectors' own path on the source, in parts of the picture's width.
"""
import argparse
import pathlib

import numpy
import torch

from scenes import SIDE, SETTINGS, add_options, finish, generate, scenes
from detect import CELLS, Detector, shrink, train_detector  # noqa: E402  (found by scenes)
from look import Detectors  # noqa: E402


@torch.no_grad()
def look(net, frames):
    """(index of the setting, path [T, 2]) of frames [H, W, 3]."""
    pictures = torch.from_numpy(numpy.stack(frames)).permute(0, 3, 1, 2).float() / 255
    out = net(shrink(pictures))
    step = SIDE / CELLS
    row, column = out["where"] // CELLS, out["where"] % CELLS
    place = torch.stack([column, row], 1) + 0.5 + out["place"][:, :2]
    return int(out["setting"].softmax(1).mean(0).argmax()), (place * step).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser, "models/demo/few_step")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--strength", default="0.5")
    parser.add_argument("--eyes", type=pathlib.Path, required=True)
    parser.add_argument("--detector-s", type=float, default=600, help="seconds to train the detector")
    options = parser.parse_args()
    net = Detectors._get(options.eyes / "detector.safetensors", Detector, train_detector, options.detector_s)
    results = []
    for i, scene in enumerate(scenes(options.scenes, options.frames, other_setting=True)):
        made = generate(options, scene.truth, ["--input-video", "VIDEO", "--strength", options.strength,
                                               "--prompt", scene.prompt, "--seed", str(i)])
        (was, before), (seen, after) = look(net, list(scene.truth)), look(net, made)
        away = numpy.linalg.norm(after - before, axis=1) / SIDE
        results.append({"prompt": scene.prompt, "was": SETTINGS[scene.row[3]], "seen": SETTINGS[seen],
                        "source_right": float(was == scene.row[3]),
                        "changed": float(seen == scene.wanted_setting),
                        "path_error": float(away.mean()), "path_error_median": float(numpy.median(away))})
        r = results[-1]
        print(f"{r['was']:>6} -> {SETTINGS[scene.wanted_setting]:>6}: seen {r['seen']:>6}, path "
              f"{r['path_error']:.3f} (median {r['path_error_median']:.3f})  {scene.prompt}", flush=True)
    finish(options, results, ("source_right", "changed", "path_error", "path_error_median"))


if __name__ == "__main__":
    main()

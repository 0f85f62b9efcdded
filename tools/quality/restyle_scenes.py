"""Video to video: whether the setting becomes the prompted one while the subject keeps its path.

    python3 tools/quality/restyle_scenes.py --program build/seamwright --scenes 10

Draws evaluation scenes of the demo model whose subject moves (scenes.py), has each made again with a prompt that
names another setting (`--input-video --strength`), and lets the evaluator's detectors (tools/demo_model) name the
setting and follow the subject. The path's error is the mean distance from the detectors' own path on the
source, in parts of the picture's width.
"""
import argparse

import numpy
import torch

from scenes import SIDE, SETTINGS, add_options, finish, generate, scenes
from look import Detectors  # noqa: E402  (found by scenes)


def look(eyes, frames):
    """(index of the setting, path [T, 2]) of frames [H, W, 3]."""
    pictures = torch.from_numpy(numpy.stack(frames)).permute(0, 3, 1, 2).float() / 255
    sight = eyes.watch(pictures)
    return int(sight.names["setting"].mean(0).argmax()), sight.track[:, :2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser, "models/demo/few_step")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--strength", default="0.5")
    options = parser.parse_args()
    eyes = Detectors()
    results = []
    for i, scene in scenes(options, options.frames, other_setting=True):
        made = generate(options, scene.truth, ["--input-video", "VIDEO", "--strength", options.strength,
                                               "--prompt", scene.prompt, "--seed", str(i)])
        (was, before), (seen, after) = look(eyes, list(scene.truth)), look(eyes, made)
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

"""How well a hole in a video is filled: the subject's distance from its true path, against blending.

    python3 tools/quality/fill_holes.py --program build/seamwright --scenes 20

Draws evaluation scenes of the demo model whose subject moves (scenes.py), takes --hole frames out of the middle
of --frames, has them made again (`--input-video --missing`) with the prompt that says what the scene is, and
gives the subject's distance from its true path in parts of the picture's width: the mean over the hole
and over scenes. Beside it stand the same for a linear blend of the two frames at the hole's borders, and for
a subject that moves from one border to the other along a straight line.
"""
import argparse

import numpy

from scenes import SIDE, add_options, finish, generate, scenes


def blended(before, after, count):
    return [((before * (count + 1.0 - i) + after * i) / (count + 1.0)).round() for i in range(1, count + 1)]


def on_a_line(scene, first, count):
    before, after = scene.true_path[first - 1][0], scene.true_path[first + count][0]
    return [float(numpy.linalg.norm(p - real)) / SIDE
            for p, (real, _) in zip(blended(before, after, count), scene.true_path[first:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser, "models/demo")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--hole", type=int, default=16)
    options = parser.parse_args()
    first, count = (options.frames - options.hole) // 2, options.hole
    results = []
    for i, scene in enumerate(scenes(options.scenes, options.frames)):
        made = generate(options, scene.truth,
                        ["--input-video", "VIDEO", "--missing", f"{first}-{first + count - 1}",
                         "--prompt", scene.prompt, "--seed", str(i)])
        path = scene.path(made[first:first + count], first)
        blend = scene.path(blended(scene.truth[first - 1].astype(float),
                                   scene.truth[first + count].astype(float), count), first)
        known = scene.path(made[:first], 0)
        results.append({"prompt": scene.prompt, "filled": float(numpy.mean(scene.errors(path, first))),
                        "blended": float(numpy.mean(scene.errors(blend, first))),
                        "line": float(numpy.mean(on_a_line(scene, first, count))),
                        "known": float(numpy.mean(scene.errors(known, 0))),
                        "present": float(numpy.mean([p is not None for p in path]))})
        r = results[-1]
        print(f"{r['filled']:.3f} {r['blended']:.3f} {r['line']:.3f} {r['known']:.3f} {r['present']:.2f}  "
              f"{scene.prompt}", flush=True)
    finish(options, results, ("filled", "blended", "line", "known", "present"))


if __name__ == "__main__":
    main()

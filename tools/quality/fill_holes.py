"""How well missing frames of a video are filled: the subject's distance from its true path, against blending.

    python3 tools/quality/fill_holes.py --program build/seamwright --scenes 20

Draws evaluation scenes of the demo model whose subject moves (scenes.py), takes --hole frames out of the middle
of --frames (or, with --every N, all frames but each Nth), has them made again (`--input-video --missing`) with the
prompt that says what the scene is, and gives the subject's distance from its true path in parts of the picture's
width: the mean over the missing frames and over scenes. Beside it stand the same for a linear blend of the two
frames at each hole's borders, and for a subject that moves from one border to the other along a straight line.
"""
import argparse

import numpy

from scenes import SIDE, add_options, finish, generate, scenes


def holes(options):
    """(first, count) of every run of missing frames; known ones stand on both sides of each."""
    if options.every:
        known = range(0, options.frames, options.every)
        return [(k + 1, options.every - 1) for k in known[:-1]], known[-1] + 1
    return [((options.frames - options.hole) // 2, options.hole)], options.frames


def between(before, after, count):
    return [(before * (count + 1.0 - i) + after * i) / (count + 1.0) for i in range(1, count + 1)]


def blended(frames, gaps):
    return [f.round() for first, count in gaps
            for f in between(frames[first - 1].astype(float), frames[first + count].astype(float), count)]


def on_a_line(scene, gaps):
    places = [p for first, count in gaps
              for p in between(scene.true_path[first - 1][0], scene.true_path[first + count][0], count)]
    return [float(numpy.linalg.norm(p - scene.true_path[f][0])) / SIDE for p, f in zip(places, numbers(gaps))]


def numbers(gaps):
    return [f for first, count in gaps for f in range(first, first + count)]


def mean(misses):
    return float(numpy.mean([far for far, _ in misses]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser, "models/demo")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--hole", type=int, default=16)
    parser.add_argument("--every", type=int, default=0, help="instead of one hole: all frames but each Nth, 2 or more")
    options = parser.parse_args()
    if options.every and not 2 <= options.every < options.frames:
        parser.error(f"--every is {options.every}, but must be from 2 to less than --frames ({options.frames})")
    gaps, length = holes(options)
    missing = ",".join(f"{first}-{first + count - 1}" for first, count in gaps)
    gone = numbers(gaps)
    known = [f for f in range(length) if f not in gone]
    results = []
    for i, scene in scenes(options, length):
        made = generate(options, scene.truth, ["--input-video", "VIDEO", "--missing", missing,
                                               "--prompt", scene.prompt, "--seed", str(i)])
        filled = scene.misses([made[f] for f in gone], gone)
        results.append({"prompt": scene.prompt, "filled": mean(filled),
                        "blended": mean(scene.misses(blended(scene.truth, gaps), gone)),
                        "line": float(numpy.mean(on_a_line(scene, gaps))),
                        "known": mean(scene.misses([made[f] for f in known], known)),
                        "present": float(numpy.mean([there for _, there in filled]))})
        r = results[-1]
        print(f"{r['filled']:.3f} {r['blended']:.3f} {r['line']:.3f} {r['known']:.3f} {r['present']:.2f}  "
              f"{scene.prompt}", flush=True)
    finish(options, results, ("filled", "blended", "line", "known", "present"))


if __name__ == "__main__":
    main()

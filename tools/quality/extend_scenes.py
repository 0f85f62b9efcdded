"""Whether a motion goes on where a video is continued: the subject's steps across the hand-over.

    python3 tools/quality/extend_scenes.py --program build/seamwright --scenes 20 -- --coherence causal

Draws evaluation scenes of the demo model whose subject moves (scenes.py), --before frames each, has --new more made
(`--extend`), and follows the subject through both. A *step* is how far it moves from one frame to the next,
a *jerk* how much a step differs from the one before it, both in parts of the picture's width. At the
hand-over are the step into the first new frame and the two jerks that contain it; the rest is elsewhere. A
scene jumps if its step (or larger jerk) at the hand-over exceeds the 99th percentile of those elsewhere in
the same scene. A subject may be quickest just there, so the same is said of the scene as it truly goes on (*true*), and how
far what was made is from that (*away*: the mean over the new frames, in widths; half a width where there is no subject).
"""
import argparse

import numpy

from scenes import SIDE, add_options, finish, generate, place, scenes


def measure(path, at):
    """Steps and jerks of a path [T, 2] at frame `at`, the first new one, and elsewhere."""
    steps = numpy.linalg.norm(numpy.diff(path, axis=0), axis=1) / SIDE
    jerks = numpy.linalg.norm(numpy.diff(path, 2, axis=0), axis=1) / SIDE
    there = steps[at - 1], jerks[at - 2:at].max()
    elsewhere = numpy.delete(steps, at - 1), numpy.delete(jerks, [at - 2, at - 1])
    result = {}
    for name, one, others in zip(("step", "jerk"), there, elsewhere):
        limit = numpy.percentile(others, 99)
        result.update({name: float(one), f"{name}_elsewhere": float(others.mean()),
                       f"{name}_99": float(limit), f"{name}_jumps": float(one > limit)})
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser, "models/demo")
    parser.add_argument("--before", type=int, default=32)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--overlap", type=int, default=8)
    options = parser.parse_args()
    results = []
    for i, scene in scenes(options, options.before + options.new):
        made = generate(options, scene.truth[:options.before],
                        ["--extend", "VIDEO", "--frames", str(options.new + options.overlap), "--overlap",
                         str(options.overlap), "--prompt", scene.prompt, "--seed", str(i)])[options.overlap:]
        true = numpy.array([p for p, _ in scene.true_path])
        path = [*true[:options.before], *[place(f, scene.background, scene.radius)[0] for f in made]]
        away = [far for far, _ in scene.misses(made, range(options.before, options.before + options.new))]
        results.append({"prompt": scene.prompt, **measure(numpy.array(path), options.before),
                        **{f"true_{k}": v for k, v in measure(true, options.before).items()},
                        "away": float(numpy.mean(away))})
        r = results[-1]
        print(f"step {r['step']:.3f} (99 % elsewhere {r['step_99']:.3f})  jerk {r['jerk']:.3f} ({r['jerk_99']:.3f})  "
              f"true step {r['true_step']:.3f} ({r['true_step_99']:.3f})  away {r['away']:.3f}  {scene.prompt}", flush=True)
    finish(options, results, [k for k in results[0] if k != "prompt"])


if __name__ == "__main__":
    main()

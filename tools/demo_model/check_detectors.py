"""Checks the evaluator's detectors on fresh scenes: what they get right, what they refuse, and the ceiling that the
autoencoder sets.

    python tools/demo_model/check_detectors.py --report detectors.json

All clips have 16 frames and are drawn from one seed, with other scenes than those of training. Exits with 1 where a
threshold of evaluation.json is missed.
"""
import argparse
import collections
import json
import pathlib

import torch

from look import Detectors
from marks import NAMES, right, shares, truth_of
from render import Canvas, draw_background
from scene import MOTIONS, sample_scenes
from spoil import KINDS, second_subject, spoil
from subject import draw_subject

HERE = pathlib.Path(__file__).resolve().parent
WINDOW = 16
SEED = 99


def wrong_prompts(truth, i):
    """Prompts that differ from the truth in one attribute each."""
    for k, names in NAMES.items():
        yield {**truth, k: (truth[k] + 1 + i % (len(names) - 1)) % len(names)}


@torch.no_grad()
def round_trip(vae, clip):
    """A clip [T, 3, H, W] through the autoencoder."""
    return (vae.decode(vae.encode(clip * 2 - 1).latents).sample / 2 + 0.5).clamp(0, 1)


def check(eyes, clips, vae=None, trips=0, spoiled=0, seed=SEED, note=lambda text: None):
    """Shares right on `clips` renders and on `trips` of them after the autoencoder, and shares accepted wrongly:
    other prompts, and `spoiled` clips of each kind. Mistakes go to `note`."""
    generator = torch.Generator().manual_seed(seed)
    frames, canvas = torch.arange(WINDOW), Canvas(256, "cpu")
    results = collections.defaultdict(list)
    for i in range(max(clips, spoiled)):
        scenes = sample_scenes(1, generator, fixed={"motion": i % len(MOTIONS)})
        back = draw_background(scenes, canvas)
        clip = draw_subject(scenes, frames, canvas, back)
        truth = truth_of(scenes)
        seen = eyes.judge(clip[0])
        results["renders"].append(right(seen, truth))
        if not all(results["renders"][-1].values()):
            note(f"render {i}: {describe(truth)}, seen {describe(seen)}")
        accepted = [all(right(seen, w).values()) for w in wrong_prompts(truth, i)]
        results["wrong_prompt"].append(sum(accepted) / len(accepted))
        if i < trips:
            seen = eyes.judge(round_trip(vae, clip[0]))
            results["autoencoder"].append(right(seen, truth))
            if not all(results["autoencoder"][-1].values()):
                note(f"round trip {i}: {describe(truth)}, seen {describe(seen)}")
        if i < spoiled:
            two = second_subject(scenes, frames, canvas, clip, generator)[0][0]
            for kind in KINDS:
                results[kind].append(eyes.judge(spoil(kind, clip[0], back, two))["accepted"])
                if results[kind][-1]:
                    note(f"{kind} {i} accepted: {describe(truth)}")
    report = {"clips": {k: len(v) for k, v in results.items()}}
    report.update({k: shares(results.pop(k)) for k in ("renders", "autoencoder") if k in results})
    report["false_accepts"] = {k: sum(v) / len(v) for k, v in results.items()}
    return report


def describe(named):
    """Names and period in words."""
    words = [names[named[k]] if named[k] is not None else "none" for k, names in NAMES.items()]
    return " ".join(words) + (f" {named['period']:.1f}" if named["period"] else "")


def show(report):
    for name in ("renders", "autoencoder"):
        if name in report:
            print(f"{name} ({report['clips'][name]} clips), right:",
                  ", ".join(f"{k} {v:.1%}" for k, v in report[name].items()))
    print("accepted wrongly:", ", ".join(f"{k} {v:.1%} of {report['clips'][k]}"
                                         for k, v in report["false_accepts"].items()), flush=True)


def holds(report, limits):
    """Whether the detectors are as good as asked."""
    return (min(report["renders"].values()) >= limits["right_on_renders"]
            and max(report["false_accepts"].values()) < limits["false_accepts"])


def add_options(parser):
    parser.add_argument("--checks", type=int, default=207, help="renders to check the detectors on")
    parser.add_argument("--trips", type=int, default=108, help="of these, through the autoencoder as well")
    parser.add_argument("--spoiled", type=int, default=63, help="clips of each kind to be refused")


def load_autoencoder(models):
    from diffusers import AutoencoderTiny
    return AutoencoderTiny.from_pretrained(models / "demo" / "vae", torch_dtype=torch.float32).eval()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(p)
    p.add_argument("--weights", type=pathlib.Path, default=HERE / "detectors.safetensors")
    p.add_argument("--models", type=pathlib.Path, default=HERE.parents[1] / "models")
    p.add_argument("--seed", type=int, default=SEED)
    p.add_argument("--report", type=pathlib.Path)
    options = p.parse_args()
    report = check(Detectors(options.weights), options.checks, load_autoencoder(options.models), options.trips,
                   options.spoiled, options.seed, print)
    show(report)
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n")
    limits = json.loads((HERE / "evaluation.json").read_text())["thresholds"]["detectors"]
    return 0 if holds(report, limits) else 1


if __name__ == "__main__":
    raise SystemExit(main())

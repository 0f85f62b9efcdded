"""Scores videos of the demo checkpoint, and first the detectors that score them.

    python tools/demo_model/evaluate.py --program build/seamwright --every 5 --out out/evaluation
    python tools/demo_model/evaluate.py --check --out out/evaluation     # the detectors alone

Checks the detectors on fresh renders (check_detectors.py), makes the videos that are not in --out yet with
--program, and writes a table and evaluation.json there. Seeds and thresholds are those of evaluation.json beside
this file, fixed before the checkpoint was trained. --every N judges each Nth prompt. Run it again after an
interruption: videos that are there are not made again.
"""
import argparse
import collections
import json
import os
import pathlib
import subprocess

import numpy
import torch
from PIL import Image

import check_detectors
from captions import caption, evaluation_scenes, withheld_combinations
from check_detectors import WINDOW
from look import Detectors
from marks import NAMES, right, shares
from scene import COLOURS, KIND_OF_MOTION, MOTIONS, PERIODS, SETTINGS, SHAPES, TIMES

HERE = pathlib.Path(__file__).resolve().parent
NORMAL = PERIODS[1]
WORST = 8


def prompts(every):
    """(set, seed, prompt, truth) for each Nth prompt of both sets."""
    rows = []
    for i, row in enumerate(evaluation_scenes()):
        rows.append(("prompts", i, *row))
    for i, (colour, shape, kind) in enumerate(withheld_combinations()):
        rows.append(("withheld", i, colour, shape, KIND_OF_MOTION.index(kind), i % len(SETTINGS), i % len(TIMES)))
    for name, seed, colour, shape, motion, setting, time in rows:
        if seed % every:
            continue
        period = 0.0 if motion == 8 else NORMAL * (2.0 if motion in (6, 7) else 1.0)
        yield name, seed, caption(COLOURS[colour], SHAPES[shape], MOTIONS[motion], SETTINGS[setting],
                                  TIMES[time]), dict(colour=colour, shape=shape, motion=motion,
                                                     setting=setting, time=time, period=period)


def make_video(program, model, prompt, seed, folder, threads):
    subprocess.run([program, "generate", "--model", model, "--prompt", prompt, "--seed", str(seed),
                    "--frames", str(WINDOW), "--threads", str(threads), "--quiet", "--out", str(folder)],
                   check=True, stdout=subprocess.DEVNULL)


def read_frames(folder):
    files = sorted(folder.glob("*.png"))
    return torch.stack([torch.from_numpy(numpy.asarray(Image.open(f).convert("RGB")).copy()) for f in files]
                       ).permute(0, 3, 1, 2).float() / 255


def judged(eyes, options, model, folder):
    """(set, prompt, seed, marks, seen, truth) of every video of one model; makes those that are missing."""
    for name, seed, prompt, truth in prompts(options.every):
        clip = folder / name / str(seed)
        if len(list(clip.glob("*.png"))) != WINDOW:
            if options.no_generate:
                continue
            clip.parent.mkdir(parents=True, exist_ok=True)
            make_video(options.program, model, prompt, seed, clip, options.threads)
        seen = eyes.judge(read_frames(clip))
        marks = right(seen, truth)
        marks["colour_shape_motion"] = marks["colour"] and marks["shape"] and marks["motion"]
        marks["accepted"] = seen["accepted"]
        marks["present_frames"] = seen["present"]
        yield name, prompt, seed, marks, seen, truth


def score(eyes, options, model):
    """Scores of both prompt sets for one model: shares, what motions were taken for, the worst prompts."""
    sets = collections.defaultdict(list)
    for name, *row in judged(eyes, options, model, options.out / model.replace("/", "-")):
        sets[name].append(row)
    result = {}
    for name, rows in sets.items():
        taken = collections.defaultdict(collections.Counter)
        for _, _, _, seen, truth in rows:
            taken[MOTIONS[truth["motion"]]][named(seen)["motion"] or "none"] += 1
        worst = sorted(rows, key=lambda r: sum(v for k, v in r[2].items() if k in NAMES))[:WORST]
        result[name] = {"clips": len(rows), "shares": shares([r[2] for r in rows]),
                        "motions_taken_for": {k: dict(v.most_common()) for k, v in sorted(taken.items())},
                        "worst": [{"prompt": p, "seed": s, "seen": named(seen), "period": round(seen["period"], 1)}
                                  for p, s, _, seen, _ in worst]}
    return result


def named(seen):
    return {k: NAMES[k][seen[k]] if seen[k] is not None else None for k in NAMES}


def write_sheet(options, model, path, count=12, shown=(0, 3, 6, 9, 12, 15)):
    """A contact sheet: one row per prompt, the first `count` of those judged."""
    from sample import write_sheet as write
    rows = []
    for name, seed, prompt, _ in prompts(options.every):
        clip = options.out / model.replace("/", "-") / name / str(seed)
        if name == "prompts" and list(clip.glob("*.png")) and len(rows) < count:
            rows.append(torch.nn.functional.adaptive_avg_pool2d(read_frames(clip)[list(shown)], 128))
            print(f"row {len(rows)}: {prompt} (seed {seed})")
    write(path, torch.stack(rows))


def show(report, limits):
    for model, sets in report["models"].items():
        for name, part in sets.items():
            print(f"\n{model}, {name}: {part['clips']} clips ({report['subset']})")
            asked = {**limits["prompts"], "speed": limits["prompts"]["motion"], **limits["withheld"]}
            for k, v in part["shares"].items():
                print(f"  {k:20} {v:6.1%}" + (f"   asked {asked[k]:.0%}" if k in asked else ""))
            for motion, seen in part["motions_taken_for"].items():
                print(f"  {motion:17}", ", ".join(f"{k} {v}" for k, v in seen.items()))
            for w in part["worst"]:
                print(f"    {w['prompt']} (seed {w['seed']}): seen {', '.join(str(v) for v in w['seen'].values())}")


def parse_arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="build/seamwright")
    p.add_argument("--models", type=pathlib.Path, default=HERE.parents[1] / "models")
    p.add_argument("--model", action="append", help="demo, demo/few_step; may be given twice")
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--every", type=int, default=1, help="judge each Nth prompt only")
    p.add_argument("--check", action="store_true", help="check the detectors and make no videos")
    check_detectors.add_options(p)
    p.add_argument("--checked", type=pathlib.Path, help="take the detectors' check from this earlier report")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--no-generate", action="store_true", help="judge only the videos already in --out")
    p.add_argument("--sheets", type=pathlib.Path, help="folder for a contact sheet per model")
    return p.parse_args()


def main():
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["SEAMWRIGHT_MODELS"] = str(options.models.resolve())
    eyes = Detectors()
    limits = json.loads((HERE / "evaluation.json").read_text())["thresholds"]
    if options.checked:
        detectors = json.loads(options.checked.read_text())["detectors"]
    else:
        detectors = check_detectors.check(eyes, options.checks, check_detectors.load_autoencoder(options.models),
                                          options.trips, options.spoiled, note=print)
    check_detectors.show(detectors)
    report = {"subset": "all prompts" if options.every == 1 else f"each {options.every}th prompt",
              "frames": WINDOW, "thresholds": limits, "detectors": detectors, "models": {}}
    for model in [] if options.check else options.model or ["demo", "demo/few_step"]:
        report["models"][model] = score(eyes, options, model)
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            write_sheet(options, model, options.sheets / f"{model.replace('/', '-')}.jpg")
    show(report, limits)
    (options.out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0 if check_detectors.holds(detectors, limits["detectors"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())

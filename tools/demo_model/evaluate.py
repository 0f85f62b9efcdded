"""Scores videos of the demo checkpoint, and first the detectors that score them.

    python tools/demo_model/evaluate.py --program build/seamwright --every 5 --out out/evaluation

Trains the detectors on renders (kept in --out), checks them on fresh renders, makes the videos that are not
in --out yet with --program, and writes a table and evaluation.json there. Seeds and thresholds are those of
evaluation.json beside this file, fixed before the checkpoint was trained. --every N judges each Nth prompt.
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

from detect import second_subject, spoil
from captions import caption, evaluation_scenes, withheld_combinations
from look import Detectors
from render import Canvas, draw_background
from scene import (COLOURS, KIND_OF_MOTION, MOTIONS, PERIODS, SETTINGS, SHAPES, TIMES, period_of,
                   sample_scenes)
from subject import draw_subject

HERE = pathlib.Path(__file__).parent
WINDOW = 16
NAMES = {"colour": COLOURS, "shape": SHAPES, "motion": MOTIONS, "setting": SETTINGS, "time": TIMES}
NORMAL = PERIODS[1]


def right(seen, truth):
    """Which attributes are right. `truth` has an index per attribute and the period (0 at rest)."""
    result = {k: seen[k] == truth[k] for k in NAMES}
    if truth["period"]:
        near = abs(seen["period"] / truth["period"] - 1) <= 0.20
        result["speed"] = result["motion"] and near
    return result


def shares(rows):
    """Mean of each attribute over the rows that have it."""
    table = collections.defaultdict(list)
    for row in rows:
        for k, v in row.items():
            table[k].append(v)
    return {k: sum(v) / len(v) for k, v in table.items()}


def truth_of(scenes, i):
    truth = {k: int(getattr(scenes, k)[i]) for k in NAMES}
    return {**truth, "period": 0.0 if truth["motion"] == 8 else float(period_of(scenes)[i])}


@torch.no_grad()
def check_detectors(eyes, count, vae, seed=99):
    """Shares right on fresh renders and after the autoencoder, and shares of spoiled clips accepted."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.arange(WINDOW)
    results = collections.defaultdict(list)
    for i in range(count):
        scenes = sample_scenes(1, generator, fixed={"motion": i % len(MOTIONS)})
        canvas = Canvas(256, "cpu")
        back = draw_background(scenes, canvas)
        clip = draw_subject(scenes, frames, canvas, back)
        truth = truth_of(scenes, 0)
        seen = eyes.judge(clip[0])
        results["renders"].append(right(seen, truth))
        wrong = {k: (truth[k] + 1 + i % (len(NAMES[k]) - 1)) % len(NAMES[k]) for k in NAMES}
        results["wrong_prompt"].append(all(seen[k] == wrong[k] for k in ("colour", "shape", "motion")))
        if vae is not None and i % 2 == 0:
            z = vae.encode(clip[0] * 2 - 1).latents
            again = (vae.decode(z).sample / 2 + 0.5).clamp(0, 1)
            results["autoencoder"].append(right(eyes.judge(again), truth))
        kind = ("blurred", "dissolved", "double")[i % 3]
        two = second_subject(scenes, frames, canvas, clip, generator)[0] if kind == "double" else None
        spoiled = spoil(kind, clip[0], back, two)
        results[kind].append(eyes.judge(spoiled)["accepted"])
    report = {k: shares(results.pop(k)) for k in ("renders", "autoencoder") if k in results}
    report["false_accepts"] = {k: sum(v) / len(v) for k, v in results.items()}
    return {"clips": count, **report}


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


def score(eyes, options, model, folder):
    """Scores of both prompt sets for one model, with the worst prompts."""
    sets = collections.defaultdict(list)
    for name, seed, prompt, truth in prompts(options.every):
        clip = folder / name / str(seed)
        if not list(clip.glob("*.png")):
            if options.no_generate:
                continue
            clip.parent.mkdir(parents=True, exist_ok=True)
            make_video(options.program, model, prompt, seed, clip, options.threads)
        if len(list(clip.glob("*.png"))) != WINDOW:
            continue  # being written
        seen = eyes.judge(read_frames(clip))
        marks = right(seen, truth)
        marks["colour_shape_motion"] = marks["colour"] and marks["shape"] and marks["motion"]
        marks["accepted"] = seen["accepted"]
        sets[name].append((prompt, seed, marks, seen))
    result = {}
    for name, rows in sets.items():
        named = lambda seen: {k: NAMES[k][seen[k]] if seen[k] is not None else None for k in NAMES}
        worst = sorted(rows, key=lambda r: sum(v for k, v in r[2].items() if k in NAMES))[:8]
        result[name] = {"clips": len(rows), "shares": shares([r[2] for r in rows]),
                        "worst": [{"prompt": p, "seed": s, "seen": named(seen), "period": round(seen["period"], 1)}
                                  for p, s, _, seen in worst]}
    return result


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
    print("\ndetectors on renders (share right):")
    for k in ("renders", "autoencoder"):
        if k in report["detectors"]:
            print(f"  {k:12}", "  ".join(f"{n} {v:.1%}" for n, v in report["detectors"][k].items()))
    print("  accepted wrongly:", "  ".join(f"{k} {v:.1%}" for k, v in report["detectors"]["false_accepts"].items()))
    for model, sets in report["models"].items():
        for name, part in sets.items():
            print(f"\n{model}, {name}: {part['clips']} clips ({report['subset']})")
            asked = {**limits["prompts"], **limits["withheld"]}
            for k, v in part["shares"].items():
                print(f"  {k:20} {v:6.1%}" + (f"   asked {asked[k]:.0%}" if k in asked else ""))
            for w in part["worst"]:
                print(f"    {w['prompt']} (seed {w['seed']}): seen {', '.join(str(v) for v in w['seen'].values())}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="build/seamwright")
    p.add_argument("--models", type=pathlib.Path, default=HERE.parent.parent / "models")
    p.add_argument("--model", action="append", help="demo, demo/few_step; may be given twice")
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--every", type=int, default=1, help="judge each Nth prompt only")
    p.add_argument("--detector-s", type=float, default=600, help="seconds to train the detectors")
    p.add_argument("--checks", type=int, default=180, help="renders to check the detectors on")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--no-generate", action="store_true", help="judge only the videos already in --out")
    p.add_argument("--sheets", type=pathlib.Path, help="folder for a contact sheet per model")
    options = p.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["SEAMWRIGHT_MODELS"] = str(options.models.resolve())
    eyes = Detectors(options.out, options.detector_s)
    from diffusers import AutoencoderTiny
    vae = AutoencoderTiny.from_pretrained(options.models / "demo" / "vae", torch_dtype=torch.float32).eval()
    limits = json.loads((HERE / "evaluation.json").read_text())["thresholds"]
    report = {"subset": "all prompts" if options.every == 1 else f"each {options.every}th prompt",
              "frames": WINDOW, "thresholds": limits,
              "detectors": check_detectors(eyes, options.checks, vae), "models": {}}
    print(json.dumps(report["detectors"]), flush=True)
    for model in options.model or ["demo", "demo/few_step"]:
        report["models"][model] = score(eyes, options, model, options.out / model.replace("/", "-"))
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            write_sheet(options, model, options.sheets / f"{model.replace('/', '-')}.jpg")
    show(report, limits)
    (options.out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

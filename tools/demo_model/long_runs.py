"""Long videos of the demo checkpoint in several ways of joining windows: seams, jumps, drift, and whether what the prompt
leaves open stays the same.

    python tools/demo_model/long_runs.py --program build/seamwright --out out/long --mode default causal-8 --count 20

Prompts are the first evaluation prompts, worded so that direction, size and shade stay open; prompt i has seed i. Each
video is watched by the detectors (look.py), what they saw is kept in --out and the pictures are deleted but for a
strip, so an interrupted run goes on where it was. Prints a table and writes long.json there.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess

import numpy
import torch

import follow
from captions import caption, evaluation_scenes
from evaluate import read_frames
from look import NAMES, Detectors, Sight
from sample import write_sheet
from scene import COLOURS, MOTIONS, SETTINGS, SHAPES, TIMES

HERE = pathlib.Path(__file__).resolve().parent
SMALL = 32
SAME_LAYOUT = 0.02  # two renders of one setting are 0.03 to 0.06 apart (one in ten less), a round trip moves 0.006
DAY_TO_NIGHT = ("0: a red circle bouncing left and right over green hills by day / "
                "{last}: a red circle bouncing left and right over green hills at night")
CAUSAL = ["--coherence", "causal", "--overlap"]
MODES = {  # name: (overlap, more arguments)
    "independent": (0, ["--overlap", "0"]),
    "flat-8": (8, ["--overlap", "8", "--fuse", "flat"]),
    "pyramid-8": (8, ["--overlap", "8", "--fuse", "pyramid"]),
    "linear-4": (4, ["--overlap", "4"]),
    "default": (8, ["--overlap", "8"]),
    "linear-12": (12, ["--overlap", "12"]),
    "freenoise-8": (8, ["--overlap", "8", "--noise", "freenoise"]),
    "causal-4": (4, [*CAUSAL, "4"]),
    "causal-8": (8, [*CAUSAL, "8"]),
    "causal-12": (12, [*CAUSAL, "12"]),
    "causal-8-1-round": (8, [*CAUSAL, "8", "--resample", "1"]),
    "causal-8-4-rounds": (8, [*CAUSAL, "8", "--resample", "4"]),
    "causal-8-lag-2": (8, [*CAUSAL, "8", "--lag", "2"]),
    "causal-8-freenoise": (8, [*CAUSAL, "8", "--noise", "freenoise"]),
}


def long_prompts(count):
    """(seed, prompt, index of the motion) of the first `count` prompts."""
    for i, (colour, shape, motion, setting, time) in enumerate(evaluation_scenes()[:count]):
        yield i, caption(COLOURS[colour], SHAPES[shape], MOTIONS[motion], SETTINGS[setting], TIMES[time],
                         open_direction=True), motion


def make_video(options, prompt, seed, arguments, report, folder):
    subprocess.run([options.program, "generate", "--model", options.model, "--prompt", prompt, "--seed", str(seed),
                    "--frames", str(options.frames), "--threads", str(options.threads), "--precision",
                    options.precision, "--quiet", "--report", str(report), "--out", str(folder), *arguments],
                   check=True, stdout=subprocess.DEVNULL)


def watch_video(eyes, options, prompt, seed, arguments, base):
    """(sight, small pictures, report) of one video; made and watched unless `base` has it already."""
    kept, told = base.with_suffix(".npz"), base.with_suffix(".json")
    if not (kept.exists() and told.exists()):
        folder = base.parent / f"{base.name}-frames"
        if not (told.exists() and len(list(folder.glob("*.png"))) == options.frames):
            shutil.rmtree(folder, ignore_errors=True)
            make_video(options, prompt, seed, arguments, told, folder)
        frames = read_frames(folder)
        sight = eyes.watch(frames)
        small = torch.nn.functional.adaptive_avg_pool2d(frames, SMALL)
        strip = torch.nn.functional.adaptive_avg_pool2d(frames[::max(1, len(frames) // 48)], 96)
        write_sheet(base.with_suffix(".png"), strip[:48].view(-1, 12, 3, 96, 96))
        numpy.savez_compressed(kept, small=small.half().numpy(), **{f"names_{k}": v for k, v in sight.names.items()},
                               **{k: getattr(sight, k) for k in ("x", "y", "radius", "clear", "second", "hue")})
        shutil.rmtree(folder)
    data = dict(numpy.load(kept))
    small = data.pop("small").astype(numpy.float32)
    names = {k: data.pop(f"names_{k}") for k in NAMES}
    return Sight(**data, names=names), small, json.loads(told.read_text())


def measure(sight, small, report, motion, overlap):
    edges = follow.window_edges(len(sight.x), overlap)
    return {"present": float(sight.present.mean()), "hue_drift": follow.hue_drift(sight),
            **follow.motion_steadiness(sight, motion), "jumps": follow.jumps(sight, edges),
            "open": follow.open_attributes(sight, small, motion, SAME_LAYOUT),
            "seam": report["seam"]["seam_ratio"], "seam_second": report["seam"]["seam_ratio_second_difference"],
            "mean_motion": report["seam"]["mean_motion"], "cost": report["evaluations"] / report["frames"],
            "seconds": report["seconds"]["total"]}


def mean(values):
    values = [v for v in values if v is not None]
    return float(numpy.mean(values)) if values else None


def summary(rows):
    """Numbers of one mode over its videos."""
    drifts = [r["hue_drift"] for r in rows]
    told = [d for d in drifts if d is not None]
    seams = [r["seam"] for r in rows]
    result = {"videos": len(rows), "present": mean(r["present"] for r in rows),
              "present_worst": min(r["present"] for r in rows), "hue_drift_median": float(numpy.median(told)),
              "hue_drift_below_10": sum(d < 10 for d in told) / len(rows),
              "seam": mean(seams), "seam_worst": max(seams, key=lambda v: abs(v - 1)),
              "seam_second": mean(r["seam_second"] for r in rows), "mean_motion": mean(r["mean_motion"] for r in rows),
              "motion_right": mean(r["motion_right"] for r in rows),
              "phase_steady": mean(r["phase_steady"] for r in rows), "cost": mean(r["cost"] for r in rows)}
    for name in ("place", "hue", "size"):
        parts = [r["jumps"][name] for r in rows if name in r["jumps"]]
        total = sum(p["edges"] for p in parts)
        result[f"jumps_{name}"] = sum(p["beyond"] * p["edges"] for p in parts) / total if total else None
    for name in ("direction", "hue", "size", "layout", "all"):
        result[f"same_{name}"] = mean(float(r["open"][name]) for r in rows if name in r["open"])
    return result


def day_to_night(eyes, options, arguments, folder):
    """Shares of day and night among the frames of each quarter of a video whose prompt travels."""
    prompt = DAY_TO_NIGHT.format(last=options.frames - 1)
    result = []
    for seed in range(options.travels):
        sight, _, _ = watch_video(eyes, options, prompt, seed, arguments, folder / f"travel-{seed}")
        named = sight.names["time"].argmax(1)
        quarters = numpy.array_split(named, 4)
        result.append([{t: round(float((q == i).mean()), 2) for i, t in enumerate(TIMES) if (q == i).any()}
                       for q in quarters])
    return result


def show(report):
    keys = [k for k in next(iter(report["modes"].values()))["summary"] if k != "videos"]
    print(f"\n{'':20}", *(f"{m:>17}" for m in report["modes"]))
    for key in keys:
        values = [part["summary"][key] for part in report["modes"].values()]
        print(f"{key:20}", *(f"{v:17.3f}" if v is not None else f"{'-':>17}" for v in values))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="build/seamwright")
    p.add_argument("--models", type=pathlib.Path, default=HERE.parents[1] / "models")
    p.add_argument("--model", default="demo/few_step")
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--mode", nargs="+", choices=list(MODES), default=["default", "causal-8"])
    p.add_argument("--count", type=int, default=20, help="prompts")
    p.add_argument("--frames", type=int, default=240)
    p.add_argument("--travels", type=int, default=0, help="videos from day to night per mode")
    p.add_argument("--precision", default="fp32")
    p.add_argument("--threads", type=int, default=0)
    options = p.parse_args()
    os.environ["SEAMWRIGHT_MODELS"] = str(options.models.resolve())
    eyes = Detectors()
    report = {"frames": options.frames, "model": options.model, "precision": options.precision, "modes": {}}
    for mode in options.mode:
        overlap, arguments = MODES[mode]
        folder = options.out / mode
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for seed, prompt, motion in long_prompts(options.count):
            seen = watch_video(eyes, options, prompt, seed, arguments, folder / str(seed))
            rows.append({"seed": seed, "prompt": prompt, **measure(*seen, motion, overlap)})
            print(mode, seed, f"present {rows[-1]['present']:.2f} seam {rows[-1]['seam']:.2f}", prompt, flush=True)
        report["modes"][mode] = {"summary": summary(rows), "videos": rows}
        if options.travels:
            report["modes"][mode]["day_to_night"] = day_to_night(eyes, options, arguments, folder)
    show(report)
    (options.out / "long.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

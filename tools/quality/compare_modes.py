"""Seam ratio and cost of each way to join windows, on videos made by the program.

    python3 tools/quality/compare_modes.py --program build/seamwright --model demo/few_step

Prints a Markdown table: mean and worst seam ratio over the prompts, mean motion, evaluations per frame.
Needs Python's standard library only.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

PROMPTS = (
    "a red circle moving in circles clockwise over green hills at night",
    "a blue star bouncing left and right in the desert by day",
    "a yellow heart bouncing up and down over the sea at sunset",
    "a green square swinging on a rope over a city at night",
    "a pink diamond drifting to the right over a plain at dawn",
)
MODES = (
    ("independent windows", ["--overlap", "0"]),
    ("local, flat, overlap 8", ["--overlap", "8", "--fuse", "flat"]),
    ("local, pyramid, overlap 8", ["--overlap", "8", "--fuse", "pyramid"]),
    ("local, overlap-linear, overlap 4", ["--overlap", "4"]),
    ("local, overlap-linear, overlap 8", ["--overlap", "8"]),
    ("the same, FreeNoise", ["--overlap", "8", "--noise", "freenoise"]),
    ("causal, overlap 8, 2 rounds, lag 1", ["--overlap", "8", "--coherence", "causal"]),
    ("causal, overlap 12, 2 rounds, lag 1", ["--overlap", "12", "--coherence", "causal"]),
)


def run(options, prompt, seed, arguments):
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        subprocess.run(
            [options.program, "generate", "--model", options.model, "--prompt", prompt, "--seed", str(seed),
             "--frames", str(options.frames), "--no-video", "--quiet", "--report", str(report), *arguments],
            check=True)
        return json.loads(report.read_text())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="build/seamwright")
    p.add_argument("--model", default="demo/few_step")
    p.add_argument("--frames", type=int, default=120)
    options = p.parse_args()
    print("| windows | seam ratio, mean | worst | second differences | mean motion | evaluations per frame |")
    print("|---|---|---|---|---|---|")
    for name, arguments in MODES:
        reports = [run(options, prompt, seed, arguments) for seed, prompt in enumerate(PROMPTS)]
        ratios = [r["seam"]["seam_ratio"] for r in reports]
        second = [r["seam"]["seam_ratio_second_difference"] for r in reports]
        motion = [r["seam"]["mean_motion"] for r in reports]
        cost = reports[0]["evaluations"] / options.frames
        worst = max(ratios, key=lambda x: abs(x - 1))
        print(f"| {name} | {sum(ratios) / len(ratios):.2f} | {worst:.2f} | {sum(second) / len(second):.2f} | "
              f"{sum(motion) / len(motion):.2f} | {cost:.2f} |", flush=True)


if __name__ == "__main__":
    main()

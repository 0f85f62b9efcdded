#!/usr/bin/env python3
"""Runs `seamwright simulate` for 2 to 512 ranks and draws efficiency against ranks as SVG, beside
published figures of other systems.

    tools/plots/simulated_scaling.py build/seamwright docs/simulated-scaling.svg

Two windows per rank, 16 frames with 4 shared, 20 steps, 50 ms a forward. Only Python's own library.
"""
import json
import math
import subprocess
import sys

RANKS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
LINKS = {"nvlink": "#1b7f3b", "infiniband": "#1f5fa8", "ethernet25": "#b3541e"}
# Devices and speed-up over one device, as published (docs/simulation.md).
PUBLISHED = {
    "DistriFusion, A100": ((2, 1.8), (4, 3.4), (8, 6.1)),
    "AsyncDiff, AnimateDiff, A5000 class": ((2, 43.5 / 24.5),),
    "xDiT, HunyuanVideo, H100": ((8, 5.64),),
    "xDiT, HunyuanVideo, H20": ((8, 7.06),),
}
MARKS = "○△□◇"
LEFT, TOP, WIDTH, HEIGHT = 60, 20, 560, 300


def efficiency(program, ranks, link, spread, output):
    command = [program, "simulate", "--json", "--layout", f"{ranks}x1", "--frames", str(24 * ranks + 4),
               "--link", link, "--speed-spread", str(spread)] + ([] if output else ["--no-output"])
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0]["efficiency"]


def point(ranks, value):
    x = LEFT + WIDTH * math.log2(ranks / RANKS[0]) / math.log2(RANKS[-1] / RANKS[0])
    return x, TOP + HEIGHT * (1 - value)


def draw(curves):
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 260} {TOP + HEIGHT + 50}" '
             'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>']
    for tenth in range(0, 11, 2):
        y = TOP + HEIGHT * (1 - tenth / 10)
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y}" y2="{y}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{10 * tenth} %</text>')
    for ranks in RANKS:
        parts.append(f'<text x="{point(ranks, 0)[0]}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{ranks}</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">ranks</text>')
    for row, ((link, spread, output), values) in enumerate(curves.items()):
        line = " ".join("{:.1f},{:.1f}".format(*point(r, v)) for r, v in zip(RANKS, values))
        dash = "" if output else ' stroke-dasharray="5 3"'
        width = 2.5 if spread == 0 else 1.2
        style = f'fill="none" stroke="{LINKS[link]}" stroke-width="{width}"{dash}'
        y = TOP + 12 + 18 * row
        label = f"{link}{', speeds 1 ± 5 %' if spread else ''}{'' if output else ', no output'}"
        parts.append(f'<polyline points="{line}" {style}/>'
                     f'<line x1="{LEFT + WIDTH + 12}" x2="{LEFT + WIDTH + 40}" y1="{y}" y2="{y}" {style}/>'
                     f'<text x="{LEFT + WIDTH + 46}" y="{y + 4}" font-size="10">{label}</text>')
    parts.append(f'<text x="{LEFT + WIDTH + 12}" y="{TOP + 12 + 18 * len(curves) + 12}" font-size="10">'
                 'published, measured:</text>')
    for row, ((name, figures), mark) in enumerate(zip(PUBLISHED.items(), MARKS)):
        y = TOP + 12 + 18 * (len(curves) + row) + 28
        parts.append(f'<text x="{LEFT + WIDTH + 26}" y="{y + 4}" text-anchor="middle">{mark}</text>'
                     f'<text x="{LEFT + WIDTH + 46}" y="{y + 4}" font-size="10">{name}</text>')
        for ranks, speedup in figures:
            x, at = point(ranks, speedup / ranks)
            parts.append(f'<text x="{x:.1f}" y="{at + 4:.1f}" text-anchor="middle">{mark}</text>')
    return "\n".join(parts + ["</svg>\n"])


def main():
    program, target = sys.argv[1:3]
    curves = {}
    for output in (True, False):
        for spread in (0, 0.05):
            for link in LINKS:
                curves[link, spread, output] = [efficiency(program, r, link, spread, output) for r in RANKS]
                print(link, spread, "with output" if output else "no output",
                      " ".join(f"{v:.3f}" for v in curves[link, spread, output]))
    with open(target, "w") as file:
        file.write(draw(curves))


main()

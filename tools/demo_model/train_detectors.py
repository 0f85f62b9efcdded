"""Trains the evaluator's detectors (detect.py, closeup.py) on a CPU and writes detectors.safetensors.

    python tools/demo_model/train_detectors.py --out out/detectors

Draws the lessons first (kept in --out), then trains for a fixed number of steps, so that the same machine gives the
same weights. Run the same command again after an interruption. Needed again only when the world or the checkpoint's
autoencoder changes.
"""
import argparse
import pathlib
import time

import torch
from safetensors.torch import load_file, save_file

from closeup import Closeup, closeup_loss
from detect import SCENE_HEADS, Finder, finder_loss, shrink
from lessons import draw_crops, draw_lessons, mirrored
from packing import packed

HERE = pathlib.Path(__file__).resolve().parent
WEIGHTS = HERE / "detectors.safetensors"
CHUNK = 96
PARTS = ((100, {}), (25, {"sunset": True}), (15, {"sunset": True, "warm": True}))  # chunks and what is special
HARD = CHUNK * PARTS[0][0]  # where the special pictures begin; the closeups take half of theirs from there
STEPS = {"finder": 3000, "closeup": 7900}
BATCH = {"finder": 48, "closeup": 128}
PEAK = 1.5e-3


def get_lessons(folder, seed):
    """The lessons, drawn in chunks that are kept."""
    from diffusers import AutoencoderTiny
    vae = AutoencoderTiny.from_pretrained(HERE.parents[1] / "models" / "demo" / "vae", torch_dtype=torch.bfloat16)
    vae = vae.eval().to(memory_format=torch.channels_last)
    pictures, truths = [], []
    plan = [special for chunks, special in PARTS for _ in range(chunks)]
    for k, special in enumerate(plan):
        path = folder / f"lessons-{seed}-{k:03}.safetensors"
        if not path.exists():
            drawn, truth = draw_lessons(CHUNK, vae, torch.Generator().manual_seed(1000 * seed + k), **special)
            save_file({"pictures": drawn, **{k: v.contiguous() for k, v in truth.items()}}, path)
            print(f"lessons {CHUNK * (k + 1)}", flush=True)
        truth = load_file(path)
        pictures.append(truth.pop("pictures"))
        truths.append(truth)
    return torch.cat(pictures), {k: torch.cat([t[k] for t in truths]) for k in truths[0]}


def batch_of(name, pictures, truth, count, generator):
    """Input and truth of one step."""
    some = torch.randint(len(pictures), (count,), generator=generator)
    if name == "closeup":
        hard = torch.randint(HARD, len(pictures), (count,), generator=generator)
        some = torch.where(torch.rand(count, generator=generator) < 0.5, hard, some)
    part, t = pictures[some].float() / 255, {k: v[some] for k, v in truth.items()}
    if torch.rand(1, generator=generator) < 0.5:
        part, t = mirrored(part, t)
    if name == "finder":
        part = shrink(part)
    else:
        part, t = draw_crops(part, t, count, generator)
    return part + 0.008 * torch.randn(part.shape, generator=generator), t


def marks(name, out, t):
    """Shares right of a batch, for the log."""
    if name == "finder":
        return {k: round((out[1][k].argmax(1) == t[k]).float().mean().item(), 3) for k in SCENE_HEADS}
    clear = t["clear"]
    sure = ~t["doubtful"]
    right = {k: round((out[k].argmax(1) == t[k])[clear].float().mean().item(), 3) for k in ("colour", "shape")}
    judged = ((out["clear"] > 0) == clear)[sure].float().mean().item()
    return {**right, "clear": round(judged, 3), "off": round((out["move"] - t["move"])[clear].abs().mean().item(), 4)}


def train(name, net, loss_of, lessons, options):
    """Trains one network, from its last saved state if there is one."""
    path = options.out / f"{name}.pt"
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), PEAK, weight_decay=1e-2, betas=(0.9, 0.99))
    average = {k: v.clone() for k, v in net.state_dict().items()}
    step, steps = 0, int(STEPS[name] * options.effort)
    if path.exists():
        saved = torch.load(path)
        step, average = saved["step"], saved["average"]
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
    start = time.monotonic()
    while step < steps:
        generator = torch.Generator().manual_seed(step * 7 + options.seed)
        x, t = batch_of(name, *lessons, BATCH[name], generator)
        for group in optimizer.param_groups:
            group["lr"] = PEAK * min(1.0, (step + 1) / 100, (steps - step) / (0.6 * steps))
        with torch.autocast("cpu", torch.bfloat16):
            out = net(x.contiguous(memory_format=torch.channels_last))
        out = ((out[0].float(), {k: v.float() for k, v in out[1].items()}) if name == "finder"
               else {k: v.float() for k, v in out.items()})
        loss = loss_of(out, t)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        step += 1
        for k, v in net.state_dict().items():
            average[k].lerp_(v, max(0.005, 1 / step))
        if step % 200 == 0 or step == steps:
            print(f"{name} {step}/{steps} {time.monotonic() - start:.0f} s loss {loss.item():.3f} "
                  f"{marks(name, out, t)}", flush=True)
            torch.save({"step": step, "net": net.state_dict(), "average": average,
                        "optimizer": optimizer.state_dict()}, path)
    return {f"{name}/{k}": v for k, v in average.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=pathlib.Path, required=True, help="folder for lessons and progress")
    p.add_argument("--weights", type=pathlib.Path, default=WEIGHTS)
    p.add_argument("--effort", type=float, default=1.0, help="share of the steps")
    p.add_argument("--seed", type=int, default=7)
    options = p.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    lessons = get_lessons(options.out, options.seed)
    state = {}
    for name, net, loss_of in (("closeup", Closeup(), closeup_loss), ("finder", Finder(), finder_loss)):
        state.update(train(name, net, loss_of, lessons, options))
    save_file(packed(state), options.weights)
    print(f"{options.weights}: {options.weights.stat().st_size} bytes")


if __name__ == "__main__":
    main()

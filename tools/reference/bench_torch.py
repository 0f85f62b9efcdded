"""Times PyTorch with diffusers at full SD 1.5 + AnimateDiff v3 size; prints one JSON object.

    bench_torch.py [--model FOLDER] [--network unet|vae|vae-encode|text] [--precision fp32|bf16]
                   [--device cpu|cuda] [--size 256]
                   [--mode eager|compile|both] [--threads 2] [--runs 2] [--out OUTPUT.safetensors]
                   [--report BENCH.json --raw BENCH.raw] [--ready FILE --go FILE]

U-Net: one forward of 16 frames at SIZE x SIZE without guidance; VAE: one such frame decoded or encoded; text: one
prompt of 77 tokens; with the weights and inputs of `seamwright bench unet|vae|vae-encode|text --frames 16|1|1|1`
(bench/formula_weights.h). With FOLDER, a diffusers model folder (UNetMotionModel, or UNet2D with
motion_adapter/ inside), its weights are used instead. The output is saved as `output` ([F, 4, h, w];
pixels; [77, width]).

--report and --raw take what `seamwright bench ... --report --out-raw` wrote in the same
conditions: the relative error between the two outputs is printed, and, only where they agree (1e-4 in
fp32, 3e-2 in bf16), how many times faster it was.

With --mode both one line is printed for each mode. --ready and --go let another program share the device: FILE is
made once weights are loaded and everything is compiled, and timing waits until the other FILE is there.
"""
import argparse
import json
import pathlib
import resource
import sys
import time
import zlib

import numpy as np
import safetensors.torch
import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from transformers import CLIPTextConfig, CLIPTextModel

FRAMES = 16
SD15_UNET = dict(block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, cross_attention_dim=768,
                 num_attention_heads=8, motion_num_attention_heads=8, motion_max_seq_length=32,
                 use_motion_mid_block=False)
SD15_VAE = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
                down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
SD15_TEXT = dict(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                 num_attention_heads=12, max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=768)


def formula(name, shape):
    """The v of bench/formula_weights.h for every element: hashed to [-1, 1)."""
    x = np.arange(int(np.prod(shape)), dtype=np.uint32)
    x *= np.uint32(0x9E3779B1)
    x += np.uint32(zlib.crc32(name.encode()))
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x85EBCA77)
    x ^= x >> np.uint32(13)
    return torch.from_numpy(x.astype(np.float32) * np.float32(2.0**-31) - np.float32(1)).reshape(tuple(shape))


def fill_by_formula(module):
    for name, p in module.named_parameters():
        v = formula(name.removeprefix("text_model."), p.shape)  # older transformers put it before all
        if name.endswith("bias"):
            p.data.copy_(0.02 * v)
        elif p.ndim == 1:
            p.data.copy_(1 + 0.1 * v)
        else:
            p.data.copy_(v * (3 / (p.numel() / p.shape[0])) ** 0.5)
    return module


def variant_of(folder):
    return {"variant": "fp16"} if any(folder.glob("*.fp16*.safetensors")) else {}


def from_folder(cls, folder, dtype):
    return cls.from_pretrained(folder, torch_dtype=dtype, **variant_of(folder))


def build(network, model, dtype):
    torch.manual_seed(0)
    if network.startswith("vae"):
        if model:
            return from_folder(AutoencoderKL, model / "vae", dtype)
        return fill_by_formula(AutoencoderKL(**SD15_VAE))
    if network == "text":
        if model:
            return from_folder(CLIPTextModel, model / "text_encoder", dtype)
        return fill_by_formula(CLIPTextModel(CLIPTextConfig(**SD15_TEXT)))
    if not model:
        return fill_by_formula(UNetMotionModel(**SD15_UNET))
    config = json.loads((model / "unet" / "config.json").read_text())
    if config["_class_name"] == "UNetMotionModel":
        return from_folder(UNetMotionModel, model / "unet", dtype)
    unet = from_folder(UNet2DConditionModel, model / "unet", dtype)
    return UNetMotionModel.from_unet2d(unet, from_folder(MotionAdapter, model / "motion_adapter", dtype))


def make_call(network, module, dtype, size, device):
    """A function of no arguments that computes once and returns the tensor to compare."""
    if network == "vae":
        latent = 1.7 * formula("latents", (1, size, size, 4)).permute(0, 3, 1, 2)
        latent = latent.to(device, dtype).to(memory_format=torch.channels_last) / module.config.scaling_factor
        return lambda: module.decode(latent, return_dict=False)[0]
    if network == "vae-encode":
        pixels = 1.7 * formula("pixels", (1, 8 * size, 8 * size, 3)).permute(0, 3, 1, 2)
        pixels = pixels.to(device, dtype).to(memory_format=torch.channels_last)
        factor = module.config.scaling_factor
        return lambda: factor * module.encode(pixels, return_dict=False)[0].mean
    if network == "text":
        ids = (torch.arange(77) * 619 % 49408)[None].to(device)
        return lambda: module(ids)[0][0]
    sample = 1.7 * formula("sample", (FRAMES, size, size, 4)).permute(3, 0, 1, 2)[None].to(device, dtype)
    width = module.config.cross_attention_dim
    context = (1.7 * formula("context", (1, 77, width))).to(device, dtype).repeat(FRAMES, 1, 1)
    step = torch.tensor(481, device=device)
    return lambda: module(sample, step, encoder_hidden_states=context, return_dict=False)[0][0].permute(1, 0, 2, 3)


def compare(args, output, seconds):
    """What the other program's run says beside this one."""
    other = json.loads(args.report.read_text())
    mine = output.float().cpu()
    mine = (mine.permute(0, 2, 3, 1) if mine.ndim == 4 else mine).numpy().astype(np.float64)
    theirs = np.fromfile(args.raw, dtype="<f4").reshape(mine.shape).astype(np.float64)
    error = float(np.sqrt(((theirs - mine) ** 2).mean() / (mine**2).mean()))
    result = {"seamwright_s": other["seconds"], "relative_error": error}
    same_request = all(other[k] == v for k, v in (("precision", args.precision), ("device", args.device),
                                                  ("height", args.size), ("width", args.size)))
    same_request = same_request and (args.device == "cuda" or other["threads"] == args.threads)
    if same_request and error <= (1e-4 if args.precision == "fp32" else 3e-2):
        result["times_faster"] = seconds / other["seconds"]
    return result


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--network", choices=["unet", "vae", "vae-encode", "text"], default="unet")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--mode", choices=["eager", "compile", "both"], default="eager")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--report", type=pathlib.Path)
    parser.add_argument("--raw", type=pathlib.Path)
    parser.add_argument("--ready", type=pathlib.Path)
    parser.add_argument("--go", type=pathlib.Path)
    args = parser.parse_args()
    if args.mode == "both" and args.network.startswith("vae"):
        parser.error("--mode both is for unet and text; run a VAE once in each mode")
    torch.set_num_threads(args.threads)
    dtype = torch.float32 if args.precision == "fp32" else torch.bfloat16
    started = time.perf_counter()
    module = build(args.network, args.model, dtype).to(args.device, dtype).eval().to(memory_format=torch.channels_last)
    load_s = time.perf_counter() - started
    compute = make_call(args.network, module, dtype, args.size // 8, args.device)

    def call():
        result = compute()
        if args.device == "cuda":
            torch.cuda.synchronize()
        return result

    modes = ["eager", "compile"] if args.mode == "both" else [args.mode]
    plain = module.forward

    def enter(mode):
        if args.network.startswith("vae"):
            name = "decoder" if args.network == "vae" else "encoder"
            part = getattr(module, name)
            if mode == "compile" and not hasattr(part, "_orig_mod"):
                setattr(module, name, torch.compile(part))
        else:
            module.forward = compiled if mode == "compile" else plain

    compiled = torch.compile(plain)
    first_s = {}
    for mode in modes:
        enter(mode)
        started = time.perf_counter()
        call()
        first_s[mode] = time.perf_counter() - started
    if args.ready:
        args.ready.touch()
    while args.go and not args.go.exists():
        time.sleep(0.05)
    for mode in modes:
        enter(mode)
        output = call()
        seconds = []
        for _ in range(args.runs):
            started = time.perf_counter()
            output = call()
            seconds.append(time.perf_counter() - started)
        if args.out:
            safetensors.torch.save_file({"output": output.float().cpu().contiguous()}, args.out)
        result = {"network": args.network, "precision": args.precision, "mode": mode, "device": args.device,
                  "threads": args.threads, "frames": FRAMES if args.network == "unet" else 1, "height": args.size,
                  "width": args.size, "weights": str(args.model or "formula"),
                  "parameters": sum(p.numel() for p in module.parameters()), "load_s": round(load_s, 3),
                  "first_forward_s": round(first_s[mode], 3), "forward_s": seconds, "best_forward_s": min(seconds),
                  "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                  "output_rms": float(output.double().pow(2).mean().sqrt()), "torch": torch.__version__}
        if args.report and args.raw:
            result.update(compare(args, output, result["best_forward_s"]))
        json.dump(result, sys.stdout)
        print(flush=True)


if __name__ == "__main__":
    main()

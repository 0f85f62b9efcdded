"""Writes tests/fixtures/windows: long requests, every schedule, fusion and coherence mode.

NAME.json is the request (and the windows of steps 0 to 3, in local mode); NAME.safetensors holds
`final_latents`. Initial latents and all noise are base/rng.h's for the seed; `latents-F.safetensors`
holds the initial latents once per frame count.
"""
import argparse
import shutil

import safetensors.torch
import torch

import common
import rng
import tokenizer
import windows

OUT = tokenizer.FIXTURES / "windows"
SHAPE = (4, 6, 8)


def request(name, **changes):
    return {"name": name, "checkpoint": "unetmotion3", "sampler": "ddim", "seed": 77, "steps": 8, "guidance": 7.5,
            "prompt": "a red circle over green hills at night", "negative_prompt": "blurry", "window": 16,
            "overlap": 8, "context_stride": 1, "window_schedule": "static", "fuse": "overlap-linear",
            "coherence": "local", "lag": 1, "resample": 1, "noise": "independent", **changes}


def requests():
    for frames in (40, 43):
        for schedule, stride, overlap in (("static", 1, 8), ("uniform", 1, 4), ("looped", 2, 4)):
            for fuse in ("flat", "pyramid", "overlap-linear"):
                yield request(f"{schedule}-{fuse}-{frames}", frames=frames, window_schedule=schedule,
                              context_stride=stride, overlap=overlap, fuse=fuse)
        yield request(f"causal-{frames}", frames=frames, coherence="causal")
        yield request(f"causal-overlap12-rounds2-{frames}", frames=frames, coherence="causal", overlap=12, resample=2)
        yield request(f"causal-overlap4-rounds4-lag3-{frames}", frames=frames, coherence="causal", overlap=4, resample=4,
                      lag=3)
    yield request("uniform-stride3-43", frames=43, window_schedule="uniform", context_stride=3, window=8, overlap=4)
    yield request("looped-stride3-40", frames=40, window_schedule="looped", context_stride=3, window=8, overlap=2)
    yield request("looped-levels-left-out-40", frames=40, window_schedule="looped", context_stride=3, overlap=4)
    yield request("uniform-hole-37", frames=37, window_schedule="uniform", context_stride=2, overlap=4)
    yield request("static-overlap12-40", frames=40, overlap=12)
    yield request("static-window12-overlap4-43", frames=43, window=12, overlap=4, checkpoint="unet2d_adapter_v2")
    for sampler in ("euler", "euler_a", "dpm++_2m", "dpm++_2m_karras", "lcm"):
        yield request(f"static-{sampler}-43", frames=43, sampler=sampler)
        yield request(f"causal-{sampler}-43", frames=43, sampler=sampler, coherence="causal", resample=2)
    for sampler in ("ddim", "euler", "dpm++_2m"):
        yield request(f"causal-v-{sampler}-40", frames=40, sampler=sampler, checkpoint="sharded", coherence="causal",
                      resample=2)
    yield request("causal-one-window-10", frames=10, coherence="causal", resample=2)
    yield request("one-frame", frames=1)
    yield request("freenoise-43", frames=43, noise="freenoise")
    yield request("freenoise-euler_a-43", frames=43, noise="freenoise", sampler="euler_a")
    for sampler in ("ddim", "lcm"):
        yield request(f"causal-freenoise-{sampler}-43", frames=43, noise="freenoise", sampler=sampler, coherence="causal",
                      resample=2)


def run(req, dtype):
    pipe = common.load(req["checkpoint"], dtype)
    predict = windows.Predictor(pipe, req["prompt"], req["negative_prompt"], req["guidance"])
    latents = windows.noise_of(req, rng.INITIAL, range(req["frames"]), 0, SHAPE)
    mode = windows.run_causal if req["coherence"] == "causal" else windows.run_local
    return pipe, latents, mode(predict, common.sampler(pipe, req["sampler"]), latents, req)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these (default: all, from an empty folder)")
    names = parser.parse_args().names
    if not names:
        shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=True)
    for req in requests():
        if names and req["name"] not in names:
            continue
        pipe, latents, final = run(req, torch.float32)
        _, _, exact = run(req, torch.float64)
        record = {**req, "latent_height": SHAPE[1], "latent_width": SHAPE[2],
                  "height": SHAPE[1] * pipe.vae_scale_factor, "width": SHAPE[2] * pipe.vae_scale_factor,
                  "rms_final": float(exact.pow(2).mean().sqrt()),
                  "torch_fp32_error": common.relative_error(final, exact)}
        if req["coherence"] == "local":
            record["windows"] = [windows.SCHEDULES[req["window_schedule"]](
                req["frames"], req["window"], req["overlap"], stride=req["context_stride"], step=k) for k in range(4)]
        common.write_json(OUT / f"{req['name']}.json", record)
        safetensors.torch.save_file({"final_latents": final}, OUT / f"{req['name']}.safetensors")
        if req["noise"] == "independent":
            safetensors.torch.save_file({"latents": torch.from_numpy(latents)}, OUT / f"latents-{req['frames']}.safetensors")
        print(f"{req['name']}: rms {record['rms_final']:.3f}, fp32 error {record['torch_fp32_error']:.1e}", flush=True)


if __name__ == "__main__":
    main()

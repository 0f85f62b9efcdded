#!/usr/bin/env python3
"""Runs everything that needs a GPU, within a time limit, and writes what came out as JSON.

    tools/gpu/run.py --bundle gpu-bundle.tar.xz --out FOLDER [--seconds 540] [--only STEP ...] [--torch]

Run it in a checkout of the same commit (models and fixtures are read from there). Without --bundle it uses
--build (build-cuda). Steps run in the order of their worth; one that does not fit the time left is
noted as skipped. FOLDER gets results.json and logs.tar.gz. Needs Python 3.8 and CUDA 13's libraries,
which it looks for in CUDA's folder and in Python's nvidia packages; nothing is downloaded. --torch also times
PyTorch with diffusers, which must be importable: the U-Net in eager and compiled mode and, op by op, what took longest.
"""
import argparse
import glob
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from runner import ROOT, Runner


def relative_error(work, a, b):
    """RMS(a - b) / RMS(b) of two latents files, with nothing but the standard library and numpy."""
    import numpy

    def read(name):
        data = (work / f"{name}.safetensors").read_bytes()
        size = int.from_bytes(data[:8], "little")
        begin, end = json.loads(data[8:8 + size])["latents"]["data_offsets"]
        return numpy.frombuffer(data[8 + size + begin:8 + size + end], dtype=numpy.float32).astype(float)

    x, y = read(a), read(b)
    return float(numpy.sqrt(numpy.mean((x - y) ** 2)) / numpy.sqrt(numpy.mean(y ** 2)))


def look(run):
    """What is there."""
    run.run("nvidia-smi", ["nvidia-smi"], 20)
    run.run("doctor", [run.bin / "seamwright", "doctor", "--json"], 30,
            lambda text: {"doctor": json.loads(text[text.index("{"):]).get("cuda")})


def correct(run):
    """What reading could not decide, and against the reference, which takes the processor's time: all at once."""
    run.together([
        run.tests("probe", "Probe.*", 90),
        run.tests("contract-own", "Cuda/BackendContract.*/f32_products:Cuda/BackendContract.*/bf16_products", 100),
        run.tests("contract", "Cuda/BackendContract.*/f32:Cuda/BackendContract.*/bf16:Cuda/BackendContract.*/f16", 100),
        run.tests("parity", "Cuda/NetworkParity.*", 100),
        run.tests("nccl", "NcclOnOneGpu.*:Gpu/Fabric*", 90)])


def start_peer(run):
    """PyTorch loads and compiles while what is not timed runs; speed() lets it measure."""
    if not run.torch:
        return
    run.peer = run.begin_step(
        "torch-unet-bf16",
        [sys.executable, ROOT / "tools/reference/bench_torch.py", "--device", "cuda", "--size", "512", "--precision",
         "bf16", "--mode", "both", "--runs", "5", "--threads", "8", "--report", run.work / "bench-unet-bf16.json",
         "--raw", run.logs / "bench-unet-bf16.raw", "--out", run.logs / "torch.safetensors", "--ready",
         run.work / "ready", "--go", run.work / "go"],
        run.limit, lambda text: {"modes": [json.loads(line) for line in text.splitlines() if line.startswith("{")]},
        env=run.plain_env)


def end_peer(run):
    """Waits for PyTorch's compiler, then gives it the GPU."""
    if run.peer is None:
        return
    while not (run.work / "ready").exists() and run.peer["process"].poll() is None and run.left() > 40:
        time.sleep(0.2)
    (run.work / "go").touch()
    run.finish(run.peer)
    ops = [sys.executable, ROOT / "tools/gpu/torch_ops.py", run.work / "bench-unet-bf16.json"]
    run.finish(run.begin_step("torch-ops", ops, 45, lambda text: {"ops": json.loads(text[text.index("["):])},
                              env=run.plain_env))


def speed(run):
    size = ["--size", "512x512", "--repeats", "5"]
    run.bench("bench-unet-bf16", "unet", ["--precision", "bf16", "--frames", "16", *size], 120)
    run.bench("bench-vae-bf16", "vae", ["--precision", "bf16", "--frames", "4", *size], 60)


def thorough(run):
    """Every full-size shape, and the sanitizer on the own kernels and on a whole network."""
    run.together([run.tests(f"full-size-{kind}-{precision}", f"Cuda/FullSize.{kind}/{precision}", 200)
                  for precision in ("F32", "BF16", "F16")
                  for kind in ("ConvolutionsOfTheUNet", "ConvolutionsOfTheVae", "LinearLayers", "Norms", "Attention")] +
                 [(f"sanitizer-{tool}", ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9",
                                         run.bin / "test_gpu",
                                         "--gtest_filter=Cuda/NetworkParity.UNet*/bf16_unetmotion3",
                                         "--gtest_brief=1"], 200, None) for tool in ("memcheck", "racecheck")] +
                 [run.tests("contract-compiled", "Cuda/BackendContract.*/*16_compiled", 100)])


DEMO = ["--model", "demo/few_step", "--frames", "40", "--seed", "7", "--prompt",
        "a red circle moving in circles over green hills at night"]


def layouts(run):
    """One hash in every layout whose ranks share the GPU: threads of one process, and processes over MPI."""
    hashes = {}
    cases = [("none", 1, 1), ("none", 2, 1), ("none", 1, 2), ("none", 2, 2), ("mpirun", 2, 1), ("mpirun", 1, 2),
             ("mpirun", 2, 2)]
    for launcher, groups, stages in cases:
        name = f"layout-{launcher}-{groups}x{stages}"
        step = run.generate(name, DEMO + ["--device", "cuda", "--precision", "bf16", "--window-parallel-size",
                                          str(groups), "--pipeline-parallel-size", str(stages), "--no-video"],
                            60, launcher=launcher)
        if step and "report" in step:
            hashes[name] = step["report"]["latents_sha256"]
    run.results["one_hash"] = {"hashes": hashes, "holds": len(hashes) == len(cases) and len(set(hashes.values())) == 1}


def against_cpu(run):
    run.generate("demo-cpu-fp32", DEMO + ["--device", "cpu", "--precision", "fp32", "--no-video"], 90, True)
    for precision in ("fp32", "bf16", "fp16"):
        run.generate(f"demo-cuda-{precision}",
                     DEMO + ["--device", "cuda", "--precision", precision, "--no-video"], 60, True)
        try:
            run.results[f"demo_error_{precision}"] = relative_error(run.work, f"demo-cuda-{precision}", "demo-cpu-fp32")
        except Exception as error:
            run.results[f"demo_error_{precision}"] = repr(error)


def split(run, name):
    """Milliseconds a frame of one job, by what the report and the bench of the decoder tell. The tasks' thread fuses,
    evaluates (which waits for the device, decoding included) and waits for the writer; the writer waits for pixels, and
    measures, hands over and encodes them."""
    job = run.results["steps"].get(name, {}).get("report")
    if not job:
        return None
    rank, seconds, ms = job["ranks"][0], job["seconds"], 1000 / job["frames"]
    found = {"frames_per_second": job["frames_per_second"], "encoder_threads": job.get("encoder_threads"),
             "whole": ms * job["frames"] / job["frames_per_second"],
             "tasks": {"evaluations": ms * rank["forward_seconds"], "fusing": ms * rank["fuse_seconds"],
                       "begin_decoding": ms * rank["decode_seconds"], "wait_for_writer": ms * seconds["encode_wait"]},
             "writer": {"wait_for_pixels": ms * seconds["pixel_wait"], "measure_and_encode": ms * seconds["encode"]}}
    vae = run.results["steps"].get("bench-vae-bf16", {}).get("numbers")
    if vae:
        found["alone"] = {"vae": 1000 * vae["seconds"] / vae["frames"],
                          **{k: 1000 * v for k, v in vae.get("seconds_a_frame_afterwards", {}).items()}}
    return found


def full_job(run):
    """A whole full-size job from random weights on disk: 4 steps, no guidance, full VAE, encoded by ffmpeg."""
    folder = run.work / "random-model"
    step = run.run("write-random", [run.bin / "seamwright", "models", "write-random", folder], 120)
    if step and step["outcome"] == "ok":
        job = ["--model", folder, "--device", "cuda", "--precision", "bf16", "--frames", "124", "--overlap", "4",
               "--steps", "4", "--guidance", "1", "--size", "512x512", "--prompt", "hills", "--seed", "3"]
        cases = {"full-size-job": ["--order", "throughput", "--out", run.work / "full-size.mp4"],
                 "full-size-streamed": ["--order", "streaming", "--out", run.work / "streamed.mp4"],
                 "full-size-two-threads": ["--order", "streaming", "--encoder-threads", "2", "--out",
                                           run.work / "two.mp4"],
                 "full-size-unencoded": ["--order", "streaming", "--no-video"]}
        for name, more in cases.items():
            run.generate(name, [*job, *more], 60)
        run.results["frame_split"] = {name: split(run, name) for name in cases}
    shutil.rmtree(folder, ignore_errors=True)


def memory_in_use():
    answer = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                            capture_output=True, text=True)
    return [int(line) for line in answer.stdout.split()]


def children_of(parent):
    found = []
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = pathlib.Path(stat).read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.split("/")[2]))
    return found


def killed(run):
    """A gang of two of whose ranks one is killed with SIGKILL frees the GPU's memory, and its job goes on, in another
    layout, to the hash of one that was not disturbed."""
    if run.only and not any("killed".startswith(o) for o in run.only) or run.left() < 60:
        return
    job = ["--model", "demo/few_step", "--frames", "160", "--seed", "9", "--device", "cuda", "--precision", "bf16",
           "--prompt", "a blue square drifting right over snow", "--no-video"]
    before = memory_in_use()
    whole = run.generate("killed-whole", job, 60)
    kept = run.work / "kept"
    command = [str(run.bin / "seamwright"), "generate", "--quiet", "--launcher", "mpirun",
               "--window-parallel-size", "2", "--resume", str(kept), *job]
    with open(run.logs / "killed.log", "w") as log:
        process = subprocess.Popen(command, env=run.env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        time.sleep(min(30, 0.6 * (whole or {}).get("seconds", 10)))
        ranks = children_of(process.pid)
        for rank in ranks[-1:]:
            os.kill(rank, signal.SIGKILL)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    time.sleep(2)
    after = memory_in_use()
    resumed = run.generate("killed-resumed", ["--resume", kept, *job], 60)
    hashes = [s.get("report", {}).get("latents_sha256") for s in (whole or {}, resumed or {})]
    run.results["killed"] = {"ranks_seen": len(ranks), "memory_before_mib": before, "memory_after_mib": after,
                             "hashes": hashes, "same": hashes[0] is not None and hashes[0] == hashes[1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=pathlib.Path)
    parser.add_argument("--build", default="build-cuda")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--only", nargs="*", help="only steps whose names begin like this")
    with tempfile.TemporaryDirectory() as folder:
        run = Runner(parser.parse_args(), pathlib.Path(folder))
        try:
            for part in (start_peer, look, correct, speed, full_job, layouts, killed, against_cpu, thorough, end_peer):
                try:
                    part(run)
                except Exception:  # one part that broke leaves the others
                    run.results.setdefault("broken", {})[part.__name__] = traceback.format_exc()
                    print(f"{part.__name__} broke: {traceback.format_exc(limit=1)}", flush=True)
                    run.save()
        finally:
            run.save()
    bad = [n for n, s in run.results["steps"].items() if s["outcome"] != "ok"]
    print("not ok:", ", ".join(bad) if bad else "none")
    return 1 if bad or "broken" in run.results else 0


if __name__ == "__main__":
    sys.exit(main())

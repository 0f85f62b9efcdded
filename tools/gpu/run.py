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
import tarfile
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEEDED = ("libcudart.so.13", "libcublasLt.so.13", "libcudnn.so.9", "libnccl.so.2")


def library_folders():
    """Folders with CUDA's libraries, each library's first place once."""
    places = ["/usr/local/cuda/lib64", "/usr/local/cuda/lib", "/usr/lib/x86_64-linux-gnu"]
    for base in sys.path:
        places += glob.glob(os.path.join(base, "nvidia", "*", "lib"))
    folders, missing = [], []
    for name in NEEDED:
        found = next((p for p in places if os.path.exists(os.path.join(p, name))), None)
        if found is None:
            missing.append(name)
        elif found not in folders:
            folders.append(found)
    return folders, missing


def unpack(bundle, to):
    with tarfile.open(bundle) as archive:
        archive.extractall(to)
    source = pathlib.Path((to / "source-folder").read_text().strip())
    if source != ROOT and not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        source.symlink_to(ROOT)  # where the tests look for fixtures
    return to / "bin", [str(to / "lib")], (to / "commit").read_text().strip()


class Runner:
    def __init__(self, arguments, work):
        self.begin = time.monotonic()
        self.limit = arguments.seconds
        self.only = arguments.only
        self.torch = arguments.torch
        self.peer = None
        self.work = work
        self.logs = work / "logs"
        self.logs.mkdir(parents=True)
        self.results = {"steps": {}}
        self.out = pathlib.Path(arguments.out)
        if arguments.bundle:
            self.bin, folders, commit = unpack(arguments.bundle, work / "bundle")
        else:
            self.bin, folders = ROOT / arguments.build, []
            commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True,
                                    text=True).stdout.strip()
        cuda, missing = library_folders()
        self.plain_env = dict(os.environ)
        self.env = dict(os.environ)
        self.env["LD_LIBRARY_PATH"] = ":".join(folders + cuda + [os.environ.get("LD_LIBRARY_PATH", "")])
        self.env["SEAMWRIGHT_MODELS"] = str(ROOT / "models")
        if arguments.bundle:  # the packed Open MPI, wherever it lies now
            plugins = str(work / "bundle" / "plugins")
            nothing = work / "bundle" / "no-plugins"
            nothing.mkdir()
            self.env.update(PATH=f"{self.bin}:{self.env.get('PATH', '')}", OMPI_MCA_mca_base_component_path=plugins,
                            PMIX_MCA_mca_base_component_path=str(nothing), OMPI_ALLOW_RUN_AS_ROOT="1",
                            OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", PMIX_MCA_pcompress_base_silence_warning="1")
        self.results.update(commit=commit, cuda_library_folders=cuda, missing_libraries=missing,
                            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    def left(self):
        return self.limit - (time.monotonic() - self.begin)

    def save(self):
        self.out.mkdir(parents=True, exist_ok=True)
        self.results["seconds"] = round(time.monotonic() - self.begin, 1)
        (self.out / "results.json").write_text(json.dumps(self.results, indent=1) + "\n")
        with tarfile.open(self.out / "logs.tar.gz", "w:gz") as archive:
            archive.add(self.logs, "logs")

    def run(self, name, command, limit, parse=None):
        """One step: its outcome, seconds, last lines, and what `parse` makes of it."""
        return self.finish(self.begin_step(name, command, limit, parse))

    def together(self, steps):
        """Steps begun at once, each (name, command, limit, parse): for what is not timed."""
        for begun in [self.begin_step(*step) for step in steps]:
            self.finish(begun)

    def begin_step(self, name, command, limit, parse=None, env=None):
        if self.only and not any(name.startswith(o) for o in self.only):
            return None
        why = None
        if self.left() < 15:
            why = "no time left"
        elif shutil.which(str(command[0])) is None:
            why = f"there is no {command[0]}"
        if why:
            self.results["steps"][name] = {"outcome": f"skipped: {why}"}
            self.save()
            return None
        log = self.logs / f"{name}.log"
        with open(log, "w") as file:
            process = subprocess.Popen([str(c) for c in command], stdout=file, stderr=subprocess.STDOUT,
                                       env=env or self.env, cwd=ROOT, start_new_session=True)
        return {"name": name, "command": command, "start": time.monotonic(), "log": log, "parse": parse,
                "limit": min(limit, self.left() - 5), "process": process}

    def finish(self, begun):
        if begun is None:
            return None
        process, start = begun["process"], begun["start"]
        try:
            code = process.wait(max(1, begun["limit"] - (time.monotonic() - start)))
            outcome = "ok" if code == 0 else f"failed: exit {code}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            outcome = f"stopped after {begun['limit']:.0f} s"
        text = begun["log"].read_text(errors="replace")
        step = {"outcome": outcome, "seconds": round(time.monotonic() - start, 1),
                "command": " ".join(str(c) for c in begun["command"]), "tail": text.splitlines()[-12:]}
        if begun["parse"]:
            try:
                step.update(begun["parse"](text))
            except Exception as error:  # a step that broke leaves nothing to read
                step["unreadable"] = repr(error)
                step["outcome"] = "nothing to read" if outcome == "ok" else outcome
        self.results["steps"][begun["name"]] = step
        now = time.monotonic() - self.begin
        print(f"[{now:5.0f} s] {begun['name']}: {step['outcome']} ({step['seconds']} s)", flush=True)
        for line in step.get("failed", [])[:10] or ([] if step["outcome"] == "ok" else step["tail"][-3:]):
            print(f"    {line}", flush=True)
        self.save()
        return step

    def tests(self, name, pattern, limit):
        """The arguments of a step that runs these cases of test_gpu."""
        report = self.work / f"{name}.json"

        def parse(_):
            suites = json.loads(report.read_text())
            failed = [f"{s['name']}.{t['name']}" for s in suites["testsuites"] for t in s["testsuite"]
                      if t.get("failures")]
            skipped = sum(t.get("result") == "SKIPPED" for s in suites["testsuites"] for t in s["testsuite"])
            counts = {"tests": suites["tests"], "failures": suites["failures"], "skipped": skipped,
                      "failed": failed[:60]}
            if skipped == suites["tests"]:
                counts["outcome"] = "nothing ran: all skipped"
            return counts

        return name, [self.bin / "test_gpu", f"--gtest_filter={pattern}", "--gtest_brief=1",
                      f"--gtest_output=json:{report}"], limit, parse

    def bench(self, name, what, arguments, limit):
        report = self.work / f"{name}.json"
        raw = (self.logs if what == "unet" else self.work) / f"{name}.raw"

        def parse(_):
            numbers = json.loads(report.read_text())
            numbers["ops"] = sorted(numbers["ops"], key=lambda o: -o["seconds"])[:60]
            return {"numbers": numbers}

        return self.run(name, [self.bin / "seamwright", "bench", what, "--device", "cuda", "--report", report,
                               "--out-raw", raw, *arguments], limit, parse)

    def generate(self, name, arguments, limit, latents_too=False, launcher="none"):
        report, latents = self.work / f"{name}.json", self.work / f"{name}.safetensors"

        def parse(_):
            job = json.loads(report.read_text())
            keep = ("latents_sha256", "frames", "frames_per_second", "seconds", "peak_memory_bytes", "energy",
                    "fingerprint", "layout", "bytes_moved", "seam", "first_frame_seconds", "ranks", "encoder_threads")
            return {"report": {k: job[k] for k in keep if k in job}}

        return self.run(name, [self.bin / "seamwright", "generate", "--quiet", "--launcher", launcher, "--report",
                               report, *(["--latents-out", latents] if latents_too else []), *arguments],
                        limit, parse)


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

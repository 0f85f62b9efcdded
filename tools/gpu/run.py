#!/usr/bin/env python3
"""Runs everything that needs a GPU, within a time limit, and writes what came out as JSON.

    tools/gpu/run.py --bundle gpu-bundle.tar.xz --out FOLDER [--seconds 540] [--only STEP ...]

Run it in a checkout of the same commit (models and fixtures are read from there). Without --bundle it uses
--build (build-cuda). Steps run in the order of their worth; one that does not fit the time left is
noted as skipped. FOLDER gets results.json and logs.tar.gz. Needs Python 3.8 and CUDA 13's libraries,
which it looks for in CUDA's folder and in Python's nvidia packages; nothing is downloaded.
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
        self.env = dict(os.environ)
        self.env["LD_LIBRARY_PATH"] = ":".join(folders + cuda + [os.environ.get("LD_LIBRARY_PATH", "")])
        self.env["SEAMWRIGHT_MODELS"] = str(ROOT / "models")
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
        if self.only and not any(name.startswith(o) for o in self.only):
            return None
        if self.left() < 15:
            self.results["steps"][name] = {"outcome": "skipped: no time left"}
            self.save()
            return None
        if shutil.which(str(command[0])) is None:
            self.results["steps"][name] = {"outcome": f"skipped: there is no {command[0]}"}
            self.save()
            return None
        limit = min(limit, self.left() - 5)
        start = time.monotonic()
        log = self.logs / f"{name}.log"
        with open(log, "w") as file:
            process = subprocess.Popen([str(c) for c in command], stdout=file, stderr=subprocess.STDOUT,
                                       env=self.env, cwd=ROOT, start_new_session=True)
            try:
                code = process.wait(limit)
                outcome = "ok" if code == 0 else f"failed: exit {code}"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                outcome = f"stopped after {limit:.0f} s"
        text = log.read_text(errors="replace")
        step = {"outcome": outcome, "seconds": round(time.monotonic() - start, 1),
                "command": " ".join(str(c) for c in command), "tail": text.splitlines()[-12:]}
        if parse:
            try:
                step.update(parse(text))
            except Exception as error:  # a step that broke leaves nothing to read
                step["unreadable"] = repr(error)
        self.results["steps"][name] = step
        print(f"{name}: {step['outcome']} ({step['seconds']} s)", flush=True)
        self.save()
        return step

    def tests(self, name, pattern, limit):
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

        return self.run(name, [self.bin / "test_gpu", f"--gtest_filter={pattern}", "--gtest_brief=1",
                               f"--gtest_output=json:{report}"], limit, parse)

    def bench(self, name, what, arguments, limit):
        report = self.work / f"{name}.json"

        def parse(_):
            numbers = json.loads(report.read_text())
            numbers["ops"] = sorted(numbers["ops"], key=lambda o: -o["seconds"])[:60]
            return {"numbers": numbers}

        return self.run(name, [self.bin / "seamwright", "bench", what, "--device", "cuda", "--report", report,
                               *arguments], limit, parse)

    def generate(self, name, arguments, limit):
        report, latents = self.work / f"{name}.json", self.work / f"{name}.safetensors"

        def parse(_):
            job = json.loads(report.read_text())
            keep = ("latents_sha256", "frames", "frames_per_second", "seconds", "peak_memory_bytes", "energy",
                    "fingerprint", "layout", "bytes_moved", "seam")
            return {"report": {k: job[k] for k in keep if k in job}}

        return self.run(name, [self.bin / "seamwright", "generate", "--quiet", "--launcher", "none", "--report",
                               report, "--latents-out", latents, "--out", self.work / f"{name}-frames", *arguments],
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


DEMO = ["--model", "demo/few_step", "--frames", "40", "--seed", "7", "--prompt",
        "a red circle moving in circles over green hills at night"]


def layouts(run):
    """One hash in every layout whose ranks share the GPU (threads of one process)."""
    hashes = {}
    for groups, stages in ((1, 1), (2, 1), (1, 2), (2, 2)):
        step = run.generate(f"layout-{groups}x{stages}",
                            DEMO + ["--device", "cuda", "--precision", "bf16", "--window-parallel-size", str(groups),
                                    "--pipeline-parallel-size", str(stages)], 60)
        if step and "report" in step:
            hashes[f"{groups}x{stages}"] = step["report"]["latents_sha256"]
    run.results["one_hash"] = {"hashes": hashes, "holds": len(hashes) == 4 and len(set(hashes.values())) == 1}


def against_cpu(run):
    run.generate("demo-cpu-fp32", DEMO + ["--device", "cpu", "--precision", "fp32"], 90)
    for precision in ("fp32", "bf16", "fp16"):
        run.generate(f"demo-cuda-{precision}", DEMO + ["--device", "cuda", "--precision", precision], 60)
        try:
            run.results[f"demo_error_{precision}"] = relative_error(run.work, f"demo-cuda-{precision}", "demo-cpu-fp32")
        except Exception as error:
            run.results[f"demo_error_{precision}"] = repr(error)


def full_job(run):
    """A whole full-size job from random weights on disk: 4 steps, no guidance, full VAE."""
    folder = run.work / "random-model"
    step = run.run("write-random", [run.bin / "seamwright", "models", "write-random", folder], 120)
    if step and step["outcome"] == "ok":
        run.generate("full-size-job", ["--model", folder, "--device", "cuda", "--precision", "bf16", "--frames", "28",
                                       "--steps", "4", "--guidance", "1", "--size", "512x512", "--prompt", "hills"], 120)
    shutil.rmtree(folder, ignore_errors=True)


def memory_in_use():
    answer = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                            capture_output=True, text=True)
    return [int(line) for line in answer.stdout.split()]


def killed(run):
    """A job killed with SIGKILL frees the GPU's memory, and goes on to the hash of one that was not."""
    if run.only and not any("killed".startswith(o) for o in run.only) or run.left() < 60:
        return
    job = ["--model", "demo/few_step", "--frames", "160", "--seed", "9", "--device", "cuda", "--precision", "bf16",
           "--prompt", "a blue square drifting right over snow"]
    before = memory_in_use()
    whole = run.generate("killed-whole", job, 60)
    kept = run.work / "kept"
    command = [str(run.bin / "seamwright"), "generate", "--quiet", "--launcher", "none", "--resume", str(kept),
               "--out", str(run.work / "killed.mp4"), *job]
    process = subprocess.Popen(command, env=run.env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.6 * (whole or {}).get("seconds", 10))
    process.kill()
    process.wait()
    time.sleep(2)
    after = memory_in_use()
    resumed = run.generate("killed-resumed", ["--resume", kept, *job], 60)
    hashes = [s.get("report", {}).get("latents_sha256") for s in (whole or {}, resumed or {})]
    run.results["killed"] = {"memory_before_mib": before, "memory_after_mib": after, "hashes": hashes,
                             "same": hashes[0] is not None and hashes[0] == hashes[1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=pathlib.Path)
    parser.add_argument("--build", default="build-cuda")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--only", nargs="*", help="only steps whose names begin like this")
    with tempfile.TemporaryDirectory() as folder:
        run = Runner(parser.parse_args(), pathlib.Path(folder))
        try:
            run.run("nvidia-smi", ["nvidia-smi"], 20)
            run.run("doctor", [run.bin / "seamwright", "doctor", "--json"], 30,
                    lambda text: {"doctor": json.loads(text[text.index("{"):]).get("cuda")})
            run.tests("contract-own", "Cuda/BackendContract.*/f32_products:Cuda/BackendContract.*/bf16_products", 90)
            run.tests("contract", "Cuda/BackendContract.*/f32:Cuda/BackendContract.*/bf16:Cuda/BackendContract.*/f16", 90)
            run.tests("parity", "Cuda/NetworkParity.*", 60)
            run.bench("bench-unet-bf16", "unet", ["--precision", "bf16", "--frames", "16", "--size", "512x512",
                                                  "--repeats", "5"], 120)
            run.bench("bench-vae-bf16", "vae", ["--precision", "bf16", "--frames", "4", "--size", "512x512",
                                                "--repeats", "5"], 60)
            layouts(run)
            against_cpu(run)
            run.tests("nccl", "NcclOnOneGpu.*", 40)
            run.tests("full-size", "Cuda/FullSize.*", 150)
            full_job(run)
            killed(run)
            if shutil.which("compute-sanitizer"):
                for tool in ("memcheck", "racecheck"):
                    run.run(f"sanitizer-{tool}", ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9",
                                                  run.bin / "test_gpu", "--gtest_filter=Cuda/NetworkParity.UNet*/bf16_unetmotion3",
                                                  "--gtest_brief=1"], 90)
        finally:
            run.save()
    bad = [n for n, s in run.results["steps"].items() if s["outcome"] != "ok"]
    print("not ok:", ", ".join(bad) if bad else "none")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""How a step of the GPU runs is run: the programs and libraries it finds, its time limit, its log and what is kept of it."""
import glob
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
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

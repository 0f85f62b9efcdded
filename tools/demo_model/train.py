"""Trains the demo checkpoint: one command, resumable from what it has saved.

    python tools/demo_model/train.py --out runs/demo --export models/demo

Stages: vae, cache, image, words, clips, ways, motion, teach, few, known. Each has a wall-clock budget in seconds and is
skipped with budget 0. Run the same command again after an interruption: it goes on with the weights in
--out and with what is left of each budget. --from FOLDER starts from the weights of another run or of a
checkpoint; with it the autoencoder and picture stages are skipped unless given a budget.
"""
import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import shutil
import time

import torch

import known
import nets
import stages
import ways
from cache import build_cache, prepare_set
from captions import every_word
from flat import Log
from teacher import Lessons, teach
from text import write_tokenizer
from words import train_words

GPU_BUDGETS = dict(vae=75, cache=15, image=110, words=12, clips=25, ways=0, motion=265, teach=45, few=85, known=0)
CPU_BUDGETS = dict(vae=3600, cache=1200, image=5400, words=420, clips=1800, ways=0, motion=7200, teach=1800, few=3600, known=0)
GPU_BATCH = dict(vae=64, image=512, words=256, ways=32, motion=32, teach=96, few=8, known=16)
CPU_BATCH = dict(vae=8, image=32, words=48, ways=8, motion=2, teach=4, few=1, known=4)
PEAK_RATE = dict(vae=1.5e-3, image=1.0e-3, words=3e-4, ways=6e-4, motion=8e-4, few=3e-4, known=2e-3)


def pairs(text, kind=float):
    return {k: kind(v) for k, _, v in (p.partition("=") for p in text.split(",") if p)}


def triple(text):
    low, high, share = (float(v) for v in text.split(","))
    if not (0 <= low < high <= 1000 and 0 < share < 1):
        raise argparse.ArgumentTypeError(f"{text}: wanted LOW,HIGH,SHARE, as 550,850,0.5")
    return low, high, share


def parse_arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=pathlib.Path, required=True, help="folder for weights, log and sheets")
    p.add_argument("--from", dest="source", type=pathlib.Path, action="append", default=[],
                   help="folder or checkpoint with weights to continue from; may be given twice")
    p.add_argument("--export", type=pathlib.Path, help="write the checkpoint in diffusers' layout here")
    p.add_argument("--budget-s", type=pairs, default={}, help="stage=seconds,...")
    p.add_argument("--batch", type=lambda t: pairs(t, int), default={}, help="stage=size,...")
    p.add_argument("--rate", type=pairs, default={}, help="stage=peak learning rate,...")
    p.add_argument("--max-steps", type=int, help="end every stage after so many steps (smoke runs)")
    p.add_argument("--images", type=int, default=100_000, help="most scenes in the picture set")
    p.add_argument("--clips", type=int, default=20_000, help="most scenes in the clip set")
    p.add_argument("--pool", type=int, help="pictures the autoencoder draws from")
    p.add_argument("--one-way", type=int, default=0, metavar="STEPS",
                   help="motion: most clips with a direction run clockwise or to the right at first, half of them after STEPS")
    p.add_argument("--average", type=float, default=0.999, help="motion, known: decay of the averaged weights (short runs: less)")
    p.add_argument("--still-text", action="store_true", help="motion: the text encoder stays as it is")
    p.add_argument("--press", type=triple, metavar="LOW,HIGH,SHARE",
                   help="motion, known: this share of the noise levels lies from LOW to HIGH (0 to 1000)")
    p.add_argument("--stride", type=int, default=5, help="teacher steps per student step")
    p.add_argument("--size", type=int, default=256, help="picture size (smaller only for smoke runs)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--precision", choices=("bf16", "fp32"), help="of the forward pass")
    options = p.parse_args()
    gpu = options.device == "cuda"
    defaults = {**(GPU_BUDGETS if gpu else CPU_BUDGETS), **(dict(vae=0, image=0) if options.source else {})}
    options.budget_s = {**defaults, **options.budget_s}
    options.batch = {**(GPU_BATCH if gpu else CPU_BATCH), **options.batch}
    options.rate = {**PEAK_RATE, **options.rate}
    options.dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[
        options.precision or ("bf16" if gpu else "fp32")]
    options.pool = options.pool or (12_288 if gpu else 2_048)
    return options


class Weights:
    """Weights found in the output folder or the sources, and how they are saved again."""

    FILES = ("vae", "model", "few_step")

    def __init__(self, options, log):
        self.out, self.log = options.out, log
        self.parts, self.spent, self.lora, self.reads_known = {}, {}, None, None
        if (options.out / "progress.json").exists():
            self.spent = json.loads((options.out / "progress.json").read_text())
        self.before = dict(self.spent)
        trains_main = options.budget_s["motion"] or options.budget_s["ways"]
        for folder in [*options.source, options.out]:
            main_before = self.get("model", "unet")
            self._read(folder)
            # A LoRA fits the main weights it was taught on: a source's falls away with them. What this folder has was taught on its own.
            if self.lora and not same(main_before, self.get("model", "unet")):
                self.lora = None
            if (folder / nets.KNOWN_LORA).exists():
                self.reads_known = folder / nets.KNOWN_LORA
                if folder == options.out or not trains_main:
                    self.lora = self.reads_known

    def _read(self, folder):
        for name in self.FILES:
            path = folder / f"{name}.safetensors"
            if path.exists():
                self.parts.update({(name, k): v for k, v in nets.load_state(path).items()})
                self.log("resume", file=name)
        if (folder / "model_index.json").exists():
            self.parts.update(read_checkpoint(folder))
            self.log("resume", file="checkpoint")

    def get(self, file, part):
        return self.parts.get((file, part))

    def load(self, file, part, module):
        state = self.get(file, part)
        if state is None:
            return False
        state = {k: v.float() for k, v in state.items()}
        if part == "text":
            nets.load_text(module, state)
        else:
            module.load_state_dict(state)
        return True

    def left(self, stage, budget):
        """Seconds of `budget` that earlier runs into the same folder have not used."""
        return max(0.0, budget - self.before.get(stage, 0.0))

    def saver(self, stage, file):
        """A function that saves the states of `stage` and notes the time it has used."""
        def save(seconds, **states):
            self.spent[stage] = round(self.before.get(stage, 0.0) + seconds, 1)
            if states:
                self.save(file, **states)
            (self.out / "progress.json").write_text(json.dumps(self.spent) + "\n")
        return save

    def save(self, file, **states):
        """Saves averaged weights in fp16 and keeps them for the next stage."""
        for part, state in states.items():
            self.parts[(file, part)] = {k: v.detach().to("cpu", torch.float16) for k, v in state.items()}
        nets.save_state(self.out / f"{file}.safetensors",
                        **{part: s for (f, part), s in self.parts.items() if f == file})


def same(one, other):
    """Whether two states hold the same weights."""
    return one is other or bool(one and other) and one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def read_checkpoint(folder):
    """The parts of a checkpoint in diffusers' layout."""
    from safetensors.torch import load_file
    read = lambda *p: load_file(folder.joinpath(*p))
    weights = "diffusion_pytorch_model.safetensors"
    parts = {("vae", "vae"): read("vae", weights),
             ("model", "text"): read("text_encoder", "model.safetensors"),
             ("model", "unet"): {**read("unet", weights), **read("motion_adapter", weights)}}
    if (folder / "few_step" / "unet").exists():
        parts[("few_step", "unet")] = {**read("few_step", "unet", weights),
                                       **read("few_step", "motion_adapter", weights)}
    return parts


def export(weights, folder, tokenizer_folder, vocabulary):
    """Writes models in diffusers' layout, the few-step U-Net and adapter beside the main ones."""
    vae, text = nets.build_vae(), nets.build_text_encoder(vocabulary)
    weights.load("vae", "vae", vae)
    weights.load("model", "text", text)
    folder.mkdir(parents=True, exist_ok=True)
    lora = weights.lora.read_bytes() if weights.lora else b""
    (folder / nets.KNOWN_LORA).unlink(missing_ok=True)  # other main weights' is worth nothing
    if lora:
        (folder / nets.KNOWN_LORA).write_bytes(lora)
    nets.save_checkpoint(folder, vae, text, weights.get("model", "unet"), tokenizer_folder)
    few = weights.get("few_step", "unet")
    if few:
        nets.save_few_step(folder / "few_step", few)


def run_stages(options, run, weights, sets):
    batch, rate, limit = options.batch, options.rate, options.max_steps
    budget = {k: weights.left(k, v) for k, v in options.budget_s.items()}
    vae = nets.build_vae()
    weights.load("vae", "vae", vae)
    if budget["vae"]:
        stages.train_vae(run, vae, budget["vae"], batch["vae"], rate["vae"], weights.saver("vae", "vae"),
                         limit)
        vae = nets.build_vae()
        weights.load("vae", "vae", vae)
    vae = run.frozen(vae)
    text = nets.build_text_encoder(options.vocabulary)
    unet, adapter = nets.build_unet(), nets.build_adapter()
    weights.load("model", "text", text)
    state = weights.get("model", "unet")
    if state is not None:
        spatial, motion = nets.split_state({k: v.float() for k, v in state.items()})
        unet.load_state_dict(spatial)
        if motion:
            adapter.load_state_dict(motion)
    if budget["image"]:
        cache = build_cache(vae, *sets["image"].result(), 1, budget["cache"], run.size, run.device, run.log)
        done = stages.train_image(run, text, unet, vae, cache, budget["image"], batch["image"],
                                  rate["image"], weights.saver("image", "model"), limit)
        weights.load("model", "text", text)
        unet = nets.build_unet()
        unet.load_state_dict(done["unet"])
        del cache
    if budget["words"]:
        train_words(run, fresh_text(options, weights), budget["words"], batch["words"], rate["words"],
                    weights.saver("words", "model"), limit)
    if budget["ways"]:
        teach_ways(options, run, weights, vae, budget, sets)
    if budget["motion"]:
        model = nets.join(unet.float().cpu(), adapter)
        if budget["ways"]:
            weights.load("model", "unet", model)
        clips = build_cache(vae, *sets["clips"].result(), nets.WINDOW, budget["clips"], run.size,
                            run.device, run.log)
        stages.train_motion(run, fresh_text(options, weights), model, vae, clips, budget["motion"],
                            batch["motion"], rate["motion"], weights.saver("motion", "model"), limit)
    if budget["teach"] or budget["few"]:
        captions = sets["clips"].result()[1][:, 0].flatten(0, 1).to(run.device)
        distil(options, run, weights, vae, captions, budget)
    if budget["known"]:
        teach_known(options, run, weights, vae, budget, sets)


def fresh_text(options, weights):
    """A fresh text encoder with the newest weights (a trainer has taken the old one's parameters)."""
    text = nets.build_text_encoder(options.vocabulary)
    weights.load("model", "text", text)
    return text


def distil(options, run, weights, vae, captions, budget):
    batch = options.batch
    text = run.frozen(fresh_text(options, weights))
    teacher = nets.join(nets.build_unet(), nets.build_adapter())
    weights.load("model", "unet", teacher)
    student = nets.join(nets.build_unet(), nets.build_adapter())
    if not weights.load("few_step", "unet", student):
        weights.load("model", "unet", student)
    lessons = Lessons(options.out / "lessons")
    lessons.belong_to(weights.get("model", "unet"), weights.get("model", "text"))
    teach(run, text, run.frozen(teacher), captions, lessons, budget["teach"], batch["teach"], options.clips,
          options.stride, weights.saver("teach", None))
    if budget["few"]:
        stages.train_few_step(run, text, student, vae, lessons.all(run.device), budget["few"], batch["few"],
                              options.rate["few"], weights.saver("few", "few_step"), options.max_steps)


def teach_ways(options, run, weights, vae, budget, sets):
    """The main model goes on with lessons in direction. It begins with the LoRA for known frames merged, where there is one:
    those lessons have known frames, and this way it can read them from the start."""
    state = weights.get("model", "unet")
    if state is None or not nets.split_state(state)[1]:
        raise SystemExit("ways: goes on from a model that moves already; give `motion` a budget first, or --from models/demo")
    model = nets.join(nets.build_unet(), nets.build_adapter())
    weights.load("model", "unet", model)
    if weights.reads_known and not (options.out / ways.PROGRESS).exists():
        known.merge(model, weights.reads_known)
        run.log("ways", merged=nets.KNOWN_LORA)
    scenes, ids = sets["clips"].result()
    clips = build_cache(vae, scenes, ids, ways.WINDOW, budget["clips"], run.size, run.device, run.log)
    ways.train_ways(run, fresh_text(options, weights), model, clips, scenes[slice(0, len(clips.latents))], budget["ways"],
                    options.batch["ways"], options.rate["ways"], weights.saver("ways", "model"), options.max_steps)


def teach_known(options, run, weights, vae, budget, sets):
    """The LoRA for known frames, from the one in --out or --from where there is one for these main weights."""
    model = nets.join(nets.build_unet(), nets.build_adapter())
    weights.load("model", "unet", model)
    clips = build_cache(vae, *sets["clips"].result(), known.WINDOW, budget["clips"], run.size, run.device, run.log)
    file, before = options.out / nets.KNOWN_LORA, weights.lora
    note = weights.saver("known", None)

    def save(seconds, state):
        known.write(file, state)
        weights.lora = file
        note(seconds)

    known.train_known(run, fresh_text(options, weights), model, clips, budget["known"], options.batch["known"],
                      options.rate["known"], save, options.max_steps, before)


def main():
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    log = Log(options.out / "log.jsonl")
    tokenizer_folder = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"demo_tokenizer_{os.getpid()}"
    options.vocabulary = write_tokenizer(tokenizer_folder, every_word())
    # Captions are processor work: they are written while the accelerator trains the autoencoder. The
    # processes start before this one touches the device.
    workers = concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
    sets = {}
    if options.budget_s["image"]:
        sets["image"] = workers.submit(prepare_set, tokenizer_folder, options.images, options.seed + 1, False)
    if any(options.budget_s[stage] for stage in ("ways", "motion", "teach", "few", "known")):
        sets["clips"] = workers.submit(prepare_set, tokenizer_folder, options.clips, options.seed + 2, True)
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        log("start", device=torch.cuda.get_device_name(), torch=torch.__version__)
    run = stages.Run(options, device, log, nets.load_tokenizer(tokenizer_folder))
    weights = Weights(options, log)
    run_stages(options, run, weights, sets)
    workers.shutdown()
    if options.export:
        export(weights, options.export, tokenizer_folder, options.vocabulary)
        log("export", bytes=sum(p.stat().st_size for p in options.export.rglob("*.safetensors")))
    shutil.rmtree(tokenizer_folder)
    log("done", seconds=round(time.monotonic() - log.start, 1))


if __name__ == "__main__":
    main()

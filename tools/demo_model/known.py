"""The stage `known`: a LoRA that makes the main checkpoint fit frames that are given.

What comes from pure noise stays as it was: the LoRA is merged only where a job has known frames (`known_frames` in
seamwright.json). It is taught on windows twice as long as the checkpoint's, so that one window sees both borders of a
long hole; the motion modules' position codes reach that far.
"""
import torch
from safetensors.torch import load_file, save_file
from torch.func import functional_call

import nets
from attention import install
from flat import FlatTrainer, train_for
from stages import EMPTY_SHARE, noised
from text import encode_text

WINDOW = 2 * nets.WINDOW
RANK_MOTION, RANK_CONVOLUTION, RANK_SPATIAL = 12, 4, 7
SHORT = 0.2  # share of the steps with clips of one ordinary window
BESIDE = 4.0  # what a missing frame beside a known one counts for (`handover`)
STILL = 0.005  # a clip moves less than this (`movement`): there is nothing to fit
TYPICAL = 0.045  # the median clip moves about this much


class Lora(torch.nn.Module):
    """Low-rank products for every linear layer of the motion modules, every convolution of the residual blocks and the
    attention within a frame (Hu et al. 2021). Names are diffusers': `unet.LAYER.lora_A.weight` [rank, in, ...] and
    `lora_B` [out, rank, ...]."""

    def __init__(self, model):
        super().__init__()
        self.layers, self.pieces = [], torch.nn.ParameterList()
        for name, layer in model.named_modules():
            rank = rank_of(name, layer)
            if not rank:
                continue
            out, inputs, *kernel = layer.weight.shape
            down = torch.randn(rank, inputs, *kernel) / (inputs * max(1, kernel[0] * kernel[1] if kernel else 1)) ** 0.5
            self.layers.append(name)
            self.pieces.extend([down, torch.zeros(out, rank, *[1 for _ in kernel])])

    def weights(self, model):
        """The layers' weights with the products added, by parameter name."""
        merged = {}
        for i, name in enumerate(self.layers):
            base = model.get_submodule(name).weight
            down, up = self.pieces[2 * i], self.pieces[2 * i + 1]
            merged[f"{name}.weight"] = base + (up.flatten(1) @ down.flatten(1)).view_as(base)
        return merged

    def file(self, state):
        half = ("lora_A", "lora_B")
        return {f"unet.{self.layers[i // 2]}.{half[i % 2]}.weight": state[f"pieces.{i}"].detach().cpu().half().contiguous()
                for i in range(2 * len(self.layers))}

    def load(self, path):
        stored = load_file(path)
        for i, piece in enumerate(self.pieces):
            name = f"unet.{self.layers[i // 2]}.{('lora_A', 'lora_B')[i % 2]}.weight"
            if name in stored:  # a layer that an older file has not changes nothing yet
                piece.data.copy_(stored[name].float())


def merge(model, path):
    """Adds a LoRA file's products to the model's weights."""
    lora = Lora(model)
    lora.load(path)
    with torch.no_grad():
        for name, value in lora.weights(model).items():
            model.get_parameter(name).copy_(value)


def rank_of(name, layer):
    if ".motion_modules." in name and isinstance(layer, torch.nn.Linear):
        return RANK_MOTION
    if ".resnets." in name and isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (3, 3):
        return RANK_CONVOLUTION
    if ".transformer_blocks." in name and ".attn1." in name and isinstance(layer, torch.nn.Linear):
        return RANK_SPATIAL  # tells all places of a frame where the subject is
    return 0


def known_frames(count, length, device):
    """Which frames of each clip are given, [count, length]: all around a hole, some at one end, single ones, a quarter to
    three quarters of all, or none; never all."""
    at = torch.arange(length, device=device)[None]
    between = lambda low, high: low + torch.floor(torch.rand(count, 1, device=device) * (high - low + 1))
    size = between(length // 8, length * 3 // 4)
    start = 1 + torch.floor(torch.rand(count, 1, device=device) * (length - 1 - size))
    around = (at < start) | (at >= start + size)
    first, last = at < between(length // 8, length * 3 // 4), at >= length - between(length // 8, length * 3 // 4)
    single = torch.rand(count, length, device=device) < 2.5 / length
    many = torch.rand(count, length, device=device) < 0.25 + 0.5 * torch.rand(count, 1, device=device)
    kind = torch.rand(count, 1, device=device)
    result = torch.zeros(count, length, dtype=torch.bool, device=device)
    for share, mask in ((0.97, many), (0.92, single), (0.88, last), (0.8, first), (0.42, around)):
        result = torch.where(kind < share, mask, result)
    return result & ~result.all(1, keepdim=True)


def handover(known):
    """What each frame counts for, [count, length]: a missing frame beside a known one BESIDE times the others, as a step too
    long is seen there; the mean over the missing frames is one."""
    missing = ~known
    beside = torch.zeros_like(known)
    beside[:, 1:] |= known[:, :-1]
    beside[:, :-1] |= known[:, 1:]
    weight = torch.where(beside, BESIDE, 1.0) * missing
    return weight * (missing.sum(1, keepdim=True) / weight.sum(1, keepdim=True))


def movement(latents, time):
    """How much a clip of latents [N, ...] moves: its variance along the dimension `time`, as a mean over the others [N]."""
    return (latents - latents.mean(time, keepdim=True)).square().flatten(1).mean(1)


def importance(moving):
    """What a clip counts for: clips alike, whatever moves in them, as a small subject moves few latents."""
    return torch.where(moving < STILL, torch.full_like(moving, 0.4), (TYPICAL / moving.clamp(min=TYPICAL / 3)).clamp(0.4))


def chances(cache):
    """How often each clip of a cache is drawn, in any unit: of a still one there is little to learn, and small subjects,
    which move few latents, fill worst."""
    moving = torch.cat([movement(part.float(), 1) for part in cache.latents.split(64)])
    return torch.where(moving < STILL, 0.25, torch.where(moving < TYPICAL / 2, 1.5, 1.0))


def filling(run, text, cache, batch, chance, press, predict):
    """The error of one lesson: frames that are missing are made to fit the given ones, which the network reads without noise
    (Voleti et al. 2022, MCVD; Harvey et al. 2022); the time step is that of the missing ones. `cache` holds clips of WINDOW
    frames; `predict(x, t, context)` is the network."""
    latents, ids = cache.draw(batch, run.empty, EMPTY_SHARE, torch.full((), 0.5, device=run.device), chance)
    if torch.rand(()) < SHORT:  # two ordinary windows of each clip
        latents = torch.cat([latents[:, :nets.WINDOW], latents[:, nets.WINDOW:]])
        ids = torch.cat([ids, ids])
    z = latents.permute(0, 2, 1, 3, 4).float()
    count, length = z.shape[0], z.shape[2]
    t, noise, a, s, x = noised(run, z, count, press)
    known = known_frames(count, length, run.device)
    weight, known = (m[:, None, :, None, None] for m in (handover(known), known))
    x = torch.where(known, z, x)
    with torch.no_grad():
        context = encode_text(text, ids).repeat_interleave(length, 0)
    # Of a known frame nothing is asked: it counts zero.
    error = predict(x.to(run.dtype), t, context).float() - (a * noise - s * z)
    return (error.square().mul(weight).flatten(1).mean(1) * importance(movement(z, 2))).mean()


def train_known(run, text, model, cache, budget, batch, peak, save, max_steps, resume=None):
    """The main checkpoint stays still; the LoRA learns to fill (`filling`)."""
    run.frozen(text)
    run.frozen(model)
    install(model, run.dtype, batch, run.log, frames=WINDOW)
    lora = Lora(model)
    if resume is not None:
        lora.load(resume)
        run.log("resume", file=resume.name)
    trainer = FlatTrainer({"lora": lora}, run.dtype, run.device, average=run.options.average)
    chance = chances(cache)

    def body():
        predict = lambda x, t, context: functional_call(model, lora.weights(model), (x, t, context)).sample
        trainer.update(filling(run, text, cache, batch, chance, run.options.press, predict))

    train_for("known", trainer, body, budget, peak, peak * 0.03, batch, run.log,
              lambda seconds: save(seconds, lora.file(trainer.averaged("lora"))), max_steps=max_steps,
              fixed=False)
    return lora.file(trainer.averaged("lora"))


def write(path, state):
    temporary = path.with_name("." + path.name)
    save_file(state, temporary, metadata={"format": "pt"})
    temporary.rename(path)
    path.chmod(0o644)

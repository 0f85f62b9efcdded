"""What the few-step variant learns from: trajectories of the main model, kept as files so that no run loses them."""
import hashlib
import time

import torch
from safetensors.torch import load_file, save_file

import nets
from attention import install
from sample import ddim_move, guided, trailing
from stages import GUIDANCE
from text import encode_text

SAVE_EVERY = 120.0  # seconds


class Lessons:
    """Trajectories in files of a folder: states [N, 5, C, F, h, w] at the four student times and at the end, and the token
    ids [N, 77] that led there."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        read = [load_file(f) for f in sorted(folder.glob("*.safetensors"))]
        self.states, self.tokens = ([part[name] for part in read] for name in ("states", "tokens"))
        self.saved, self.files = len(self.states), len(read)

    def __len__(self):
        return sum(len(part) for part in self.states)

    def add(self, states, tokens):
        self.states.append(states.cpu())
        self.tokens.append(tokens.cpu())

    def save(self):
        """Writes what was added since, whole or not at all."""
        if self.saved == len(self.states):
            return
        temporary, file = self.folder / "new", self.folder / f"{self.files:05}.safetensors"
        save_file({"states": torch.cat(self.states[self.saved:]), "tokens": torch.cat(self.tokens[self.saved:])}, temporary)
        temporary.rename(file)
        self.saved, self.files = len(self.states), self.files + 1

    def belong_to(self, *states):
        """Forgets all that another model taught: `states` are those of the present one."""
        digest = hashlib.sha256()
        for state in states:
            for name in sorted(state):
                digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
        file, mark = self.folder / "teacher", digest.hexdigest()
        if not file.exists() or file.read_text() != mark:
            self._forget()
            file.write_text(mark)

    def _forget(self):
        for file in self.folder.glob("*.safetensors"):
            file.unlink()
        self.states, self.tokens, self.saved, self.files = [], [], 0, 0

    def all(self, device):
        return torch.cat(self.states).to(device), torch.cat(self.tokens).to(device)


@torch.no_grad()
def teach(run, text, teacher, captions, lessons, budget, batch, limit, stride, note):
    """Adds trajectories from pure noise to `lessons`, with captions drawn from `captions` [M, 77], for `budget` seconds or
    up to `limit` in all, and at least one batch if there are none. `stride` teacher steps per student step; `note(seconds)`
    is told the time used with everything saved."""
    install(teacher, run.dtype, batch, run.log)
    steps = 4 * stride
    times = trailing(steps)
    start = saved = time.monotonic()
    size, before = run.latent_size, len(lessons)
    if before:
        torch.manual_seed(run.options.seed + before)  # a run that goes on would draw the same again
    empty = encode_text(text, run.empty[None])
    while (not len(lessons) or time.monotonic() - start < budget) and len(lessons) < limit:
        ids = captions[torch.randint(len(captions), (batch,), device=run.device)].long()
        context = encode_text(text, ids)
        x = torch.randn(batch, nets.LATENT_CHANNELS, nets.WINDOW, size, size, device=run.device)
        path = [x.to(torch.float16)]
        for i, t in enumerate(times):
            v = guided(teacher, x.to(run.dtype), torch.tensor([t], device=run.device), context, empty, GUIDANCE)
            after = run.alphas[times[i + 1]] if i + 1 < steps else run.alphas.new_ones(())
            x = ddim_move(x, v.float(), run.alphas[t], after)
            if (i + 1) % stride == 0:
                path.append(x.to(torch.float16))
        lessons.add(torch.stack(path, 1), ids.to(torch.int16))
        if time.monotonic() - saved >= SAVE_EVERY:
            lessons.save()
            saved = time.monotonic()
            note(saved - start)
    lessons.save()
    note(time.monotonic() - start)
    run.log("teach", clips=len(lessons) - before, all=len(lessons), seconds=round(time.monotonic() - start, 1))

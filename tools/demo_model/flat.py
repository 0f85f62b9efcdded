"""A trainer for tiny networks: all weights in one flat buffer, the whole step in one CUDA graph.

Tiny networks are bound by kernel launches. So weights, gradients, moments and averages are single
tensors (an optimizer step is a dozen kernels), the forward pass runs in a low-precision copy, and where
there is a GPU the complete step - drawing the batch, forward, backward, update - replays as one graph.
"""
import json
import math
import time

import torch


ALIGNMENT = 64  # elements; fast matrix kernels want aligned weights


class FlatTrainer:
    """Owns the trainable weights of `modules` (name -> module). Use from one thread."""

    def __init__(self, modules, dtype, device, decay=0.01, clip=1.0, average=0.999):
        self.modules, self.device, self.clip, self.average = modules, device, clip, average
        self.decay = decay
        for module in modules.values():
            module.to(device=device, dtype=torch.float32)
        self.params = list(dict.fromkeys(p for m in modules.values() for p in m.parameters()))
        aligned = lambda count: -(-count // ALIGNMENT) * ALIGNMENT
        total = sum(aligned(p.numel()) for p in self.params)
        new = lambda kind: torch.zeros(total, dtype=kind, device=device)
        self.master, self.grad, self.work = new(torch.float32), new(dtype), new(dtype)
        self.first, self.second, self.ema = new(torch.float32), new(torch.float32), new(torch.float32)
        at = 0
        self.places = []
        for p in self.params:
            place = (at, p.numel(), p.shape)
            self.places.append(place)
            self._view(self.master, place).copy_(p.data)
            p.data = self._view(self.work, place)
            p.grad = self._view(self.grad, place)
            at += aligned(p.numel())
        for module in modules.values():  # buffers follow the working precision
            for owner in module.modules():
                for name, value in owner._buffers.items():
                    if value is not None and value.is_floating_point():
                        owner._buffers[name] = value.to(dtype)
        self.work.copy_(self.master)
        self.ema.copy_(self.master)
        scalar = lambda value: torch.tensor(float(value), device=device)
        self.rate, self.steps, self.loss = scalar(0), scalar(0), scalar(0)
        self.count = 0

    @staticmethod
    def _view(flat, place):
        at, size, shape = place
        piece = flat[at:at + size]
        if len(shape) == 4 and flat.is_cuda:  # channels-last weights
            return piece.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
        return piece.view(shape)

    def update(self, loss):
        """Backward pass and one AdamW step; every scalar lives on the device."""
        loss.backward()
        with torch.no_grad():
            self.steps += 1
            g = self.grad.float()
            g = g * (self.clip / (g.norm() + 1e-6)).clamp(max=1)
            self.first.lerp_(g, 0.1)
            self.second.lerp_(g * g, 0.01)
            m = self.first / (1 - 0.9 ** self.steps)
            v = self.second / (1 - 0.99 ** self.steps)
            self.master.mul_(1 - self.rate * self.decay).sub_(self.rate * m / (v.sqrt() + 1e-8))
            self.work.copy_(self.master)
            rate = torch.clamp(1.0 / (self.steps + 9), min=1 - self.average)
            self.ema.add_((self.master - self.ema) * rate)
            self.loss.add_((loss.detach().float() - self.loss) * torch.clamp(1 / self.steps, min=0.01))
            self.grad.zero_()

    def averaged(self, name):
        """State of module `name` with averaged weights, float32."""
        where = {id(p): place for p, place in zip(self.params, self.places)}
        module = self.modules[name]
        state = {k: v.detach().float() for k, v in module.state_dict().items()}
        for key, p in module.named_parameters():
            state[key] = self._view(self.ema, where[id(p)]).detach().clone().contiguous()
        return state

    def use_average(self):
        """Puts the averaged weights into the modules (end of a stage)."""
        self.master.copy_(self.ema)
        self.work.copy_(self.ema)


def capture(body, warm_up=3):
    """A function that replays `body` as a CUDA graph; `body` itself without a GPU or if capture fails."""
    if not torch.cuda.is_available():
        return body
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warm_up):
                body()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            body()
        return graph.replay
    except Exception as error:  # any failure costs speed, not the run
        print(f"# graph capture failed, running eagerly: {error!r}", flush=True)
        torch.cuda.synchronize()
        return body


class Log:
    """Prints lines and appends them to a JSON-lines file."""

    def __init__(self, path):
        self.path, self.start = path, time.monotonic()

    def __call__(self, stage, **values):
        line = {"stage": stage, "t": round(time.monotonic() - self.start, 1), **values}
        print(json.dumps(line), flush=True)
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")


def train_for(stage, trainer, body, budget, peak, floor, batch, log, save=None, warm=100, report=8.0,
              save_every=75.0, max_steps=None, fixed=True):
    """Runs `body` for `budget` seconds (capture included): the rate warms up over `warm` steps, then
    follows a cosine of the time used, from `peak` down to `floor`. A body that decides anything on the processor
    is not `fixed` and cannot be captured."""
    start = last = saved = time.monotonic()
    trainer.rate.fill_(peak / warm)
    run = capture(body) if fixed else body
    log(stage, note="captured", seconds=round(time.monotonic() - start, 2))
    steps = seen = 0
    sync = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    sync()
    begin = last = time.monotonic()
    while True:
        now = time.monotonic()
        if now - start >= budget or (max_steps and steps >= max_steps):
            break
        done = (now - begin) / max(1e-6, budget - (begin - start))
        if max_steps:
            done = max(done, steps / max_steps)
        rate = floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        trainer.rate.fill_(rate * min(1.0, (steps + 1) / warm))
        run()
        steps += 1
        if steps % 16 == 0:
            sync()  # keeps the clock honest
        if now - last >= report:
            sync()
            now = time.monotonic()
            log(stage, step=steps, loss=round(trainer.loss.item(), 5), rate=round(rate, 6),
                per_s=round((steps - seen) * batch / (now - last), 1))
            last, seen = now, steps
        if save and now - saved >= save_every:
            save(now - start)
            saved = time.monotonic()
    sync()
    log(stage, step=steps, loss=round(trainer.loss.item(), 5), note="end",
        seconds=round(time.monotonic() - start, 1))
    if save:
        save(time.monotonic() - start)
    return steps

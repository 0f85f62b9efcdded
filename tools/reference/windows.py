"""Long videos by windows around diffusers' own U-Net and schedulers: windows.md and causal.md as code."""
import copy
import math

import numpy as np
import torch

import common
import rng


# ---- schedules and weights (windows.md) ----

def static_windows(frames, length, overlap, **_):
    if frames <= length:
        return [list(range(frames))]
    windows, start = [], 0
    while start + length < frames:
        windows.append(list(range(start, start + length)))
        start += length - overlap
    return windows + [list(range(frames - length, frames))]


def looped_windows(frames, length, overlap, stride, step):
    if frames <= length:
        return [list(range(frames))]
    h = int(f"{step:064b}"[::-1], 2) / 2**64
    pad = round(frames * h)
    levels = min(stride, math.ceil(math.log2(frames / length)) + 1)
    windows = []
    for c in (2**i for i in range(levels)):
        if (length - 1) * c >= frames:
            break
        j = int(h * c) + pad
        while j < frames + pad - overlap:
            windows.append([(j + m * c) % frames for m in range(length)])
            j += length * c - overlap
    return windows


def uniform_windows(frames, length, overlap, stride, step):
    windows = looped_windows(frames, length, overlap, stride, step)
    kept, i = [], 0
    while i < len(windows):
        w = windows[i]
        wrap = next((b for a, b in zip(w, w[1:]) if b < a), None)
        if wrap is not None:
            spread = [(v - w[0]) % frames for v in w]
            windows[i] = w = [v + frames - 1 - spread[-1] for v in spread]
            if wrap not in windows[(i + 1) % len(windows)]:
                windows.insert(i + 1, list(range(wrap, wrap + length)))
        if w not in windows[:i]:
            kept.append(w)
        i += 1
    covered = set().union(*kept)
    for f in range(frames):
        if f not in covered:
            start = min(f, frames - length)
            kept.append(list(range(start, start + length)))
            covered.update(kept[-1])
    return kept


SCHEDULES = {"static": static_windows, "uniform": uniform_windows, "looped": looped_windows}


def weights(fuse, window, frames, overlap):
    n = len(window)
    if fuse == "flat":
        return np.ones(n)
    if fuse == "pyramid":
        return np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)).astype(float)
    assert fuse == "overlap-linear"
    w = np.ones(n)
    if overlap > 0 and 0 not in window:
        w[:overlap] = np.linspace(1e-37, 1, overlap)
    if overlap > 0 and frames - 1 not in window:
        w[-overlap:] = np.linspace(1, 1e-37, overlap)
    return w


# ---- one guided prediction ----

class Predictor:
    """The U-Net with its prompts; frames are [1, C, F, h, w]."""

    def __init__(self, pipe, prompt, negative, guidance):
        self.unet, self.guidance = pipe.unet, guidance
        with torch.no_grad():
            positive, uncond = pipe.encode_prompt(prompt, "cpu", 1, True, negative_prompt=negative)
        self.prompts = torch.cat([uncond, positive]) if guidance > 1 else positive

    @torch.no_grad()
    def __call__(self, x, t):
        count = len(self.prompts)
        context = self.prompts.repeat_interleave(x.shape[2], dim=0)
        out = self.unet(torch.cat([x] * count), t, encoder_hidden_states=context).sample
        if count == 1:
            return out
        uncond, text = out.chunk(2)
        return uncond + self.guidance * (text - uncond)


# ---- noise ----

def freenoise_source(frame, window, stride, seed):
    """The frame of the first window whose noise `frame` takes: blocks of `stride` frames take those of one window
    before, in an order drawn for the block."""
    while frame >= window:
        within = (frame - window) % stride
        block, order = frame - within, list(range(stride))
        for n in range(stride, 1, -1):
            pick = rng.random_word(seed, rng.SHUFFLE, block, n) * n >> 32
            order[n - 1], order[pick] = order[pick], order[n - 1]
        frame = block - window + order[within]
    return frame


def noise_of(req, purpose, frames, evaluation, shape):
    """Every frame's draw [len(frames), *shape]; with FreeNoise that of its source."""
    if req["noise"] == "freenoise":
        frames = [freenoise_source(f, req["window"], min(4, req["window"]), req["seed"]) for f in frames]
    return rng.frames_normal(req["seed"], purpose, frames, evaluation, shape)


# ---- local mode ----

def run_local(predict, scheduler, latents, req):
    frames, shape = req["frames"], latents.shape[1:]
    scheduler.set_timesteps(req["steps"])
    x = common.to_video(latents).to(predict.unet.dtype) * scheduler.init_noise_sigma
    for k, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t)
        total, norm = torch.zeros_like(x), np.zeros(frames)
        windows = SCHEDULES[req["window_schedule"]](frames, req["window"], req["overlap"], stride=req["context_stride"],
                                                    step=k)
        table = [weights(req["fuse"], w, frames, req["overlap"]) for w in windows]
        for w, a in zip(windows, table):
            norm[w] += a
        for w, a in zip(windows, table):
            share = torch.from_numpy(a / norm[w]).to(x.dtype)[None, None, :, None, None]
            total[:, :, w] += share * predict(scaled[:, :, w], t)
        noise = noise_of(req, rng.SAMPLER, range(frames), k, shape)
        with common.injected_noise(lambda: common.to_video(noise)):
            x = scheduler.step(total, t, x).prev_sample
    return common.to_frames(x)


# ---- causal mode (causal.md) ----

class CausalWindow:
    """State of one window: its frames' latents, its own scheduler (history), clean estimates per step."""

    def __init__(self, frames, latents, scheduler, steps, dtype):
        self.frames, self.clean = frames, {}
        self.scheduler = copy.deepcopy(scheduler)
        self.scheduler.set_timesteps(steps)
        self.x = common.to_video(latents[frames]).to(dtype) * self.scheduler.init_noise_sigma


def level(scheduler, k):
    """(alpha_k, sigma_k): a latent at level k is alpha * clean + sigma * noise."""
    if hasattr(scheduler, "sigmas"):
        s = float(scheduler.sigmas[k])
        if "Euler" in type(scheduler).__name__:
            return 1.0, s
        return 1 / math.sqrt(1 + s * s), s / math.sqrt(1 + s * s)
    abar = float(scheduler.alphas_cumprod[int(scheduler.timesteps[k])])
    return math.sqrt(abar), math.sqrt(1 - abar)


def clean_of(scheduler, x, e, k):
    alpha, sigma = level(scheduler, k)
    if scheduler.config.prediction_type == "epsilon":
        return (x - sigma * e) / alpha
    if alpha == 1.0:  # Euler
        q = sigma * sigma + 1
        return x / q - e * sigma / math.sqrt(q)
    return alpha * x - sigma * e


def prediction_of(scheduler, x, clean, k):
    alpha, sigma = level(scheduler, k)
    if scheduler.config.prediction_type == "epsilon":
        return (x - alpha * clean) / sigma
    if alpha == 1.0:
        q = sigma * sigma + 1
        return (x / q - clean) * math.sqrt(q) / sigma
    return (alpha * x - clean) / sigma


def advance(window, before, k, predict, req, shape):
    """Task (w, k) of causal.md; `before` is window w-1 or None."""
    scheduler, x, steps, rounds = window.scheduler, window.x, req["steps"], req["resample"]
    t = scheduler.timesteps[k]
    alpha, sigma = level(scheduler, k)

    def noise(purpose, frames, evaluation):
        return common.to_video(noise_of(req, purpose, frames, evaluation, shape)).to(x.dtype)

    def carried(frames, k, r):
        """The noise these frames hold when round r at level k begins: what was added to them last."""
        if r > 0:
            return noise(rng.RESAMPLE, frames, 16 * k + r)
        if k == 0:
            return noise(rng.INITIAL, frames, 0)
        if req["sampler"] in common.STOCHASTIC:
            return noise(rng.SAMPLER, frames, k - 1)
        return carried(frames, k - 1, rounds - 1)

    shared = [f for f in window.frames if before and f in before.frames]
    n = len(shared)
    if n:
        source = before.clean[min(k + req["lag"], steps - 1)][:, :, len(before.frames) - n:]
        ramp = torch.tensor([0.5] if n == 1 else [1 - i / (n - 1) for i in range(n)]).to(x.dtype)
        ramp = ramp[None, None, :, None, None]
    for r in range(rounds):
        if n:
            x[:, :, :n] = ramp * (alpha * source + sigma * carried(shared, k, r)) + (1 - ramp) * x[:, :, :n]
        e = predict(scheduler.scale_model_input(x, t), t)
        clean = clean_of(scheduler, x, e, k)
        if n:
            clean[:, :, :n] = ramp * source + (1 - ramp) * clean[:, :, :n]
        if r < rounds - 1:
            x = alpha * clean + sigma * carried(window.frames, k, r + 1)
    window.clean[k] = clean
    prediction = prediction_of(scheduler, x, clean, k)
    with common.injected_noise(lambda: noise(rng.SAMPLER, window.frames, k)):
        window.x = scheduler.step(prediction, t, x).prev_sample


def run_causal(predict, scheduler, latents, req):
    frames, shape = req["frames"], latents.shape[1:]
    windows = [CausalWindow(w, latents, scheduler, req["steps"], predict.unet.dtype)
               for w in static_windows(frames, req["window"], req["overlap"])]
    done = [0] * len(windows)
    while min(done) < req["steps"]:  # a wavefront; any order that respects the dependencies gives the same
        for w, window in enumerate(windows):
            k = done[w]
            if k < req["steps"] and (w == 0 or done[w - 1] > min(k + req["lag"], req["steps"] - 1)):
                advance(window, windows[w - 1] if w else None, k, predict, req, shape)
                done[w] += 1
    result = torch.empty((frames, *shape), dtype=predict.unet.dtype)
    for window in windows:  # later windows overwrite: their shared frames already are the mix
        result[window.frames] = common.to_frames(window.x)
    return result

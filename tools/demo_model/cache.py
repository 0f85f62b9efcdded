"""Training material held in device memory: pictures for the autoencoder, latents and captions after it."""
import time

import torch

from captions import captions_of, forbidden_table
from nets import load_tokenizer
from render import Canvas, draw_background
from scene import sample_scenes
from subject import draw_subject
from text import tokenize

CAPTIONS_PER_SCENE = 4


def draw_pictures(scenes, canvas):
    """One picture per scene [N, 3, H, W] in [0, 1]."""
    return draw_subject(scenes, torch.zeros(1, device=canvas.device), canvas,
                        draw_background(scenes, canvas))[:, 0]


@torch.no_grad()
def picture_pool(count, size, device, generator, chunk=128):
    """uint8 pictures [count, 3, H, W]. The autoencoder may see every combination: it learns no words."""
    canvas = Canvas(size, device)
    pool = torch.empty(count, 3, size, size, dtype=torch.uint8, device=device)
    for at in range(0, count, chunk):
        n = min(chunk, count - at)
        pictures = draw_pictures(sample_scenes(n, generator).to(device), canvas)
        pool[at:at + n] = (pictures * 255 + 0.5).to(torch.uint8)
    return pool


class LatentCache:
    """Latents [N, F, C, h, w] with token ids [N, K, 77] of their captions."""

    def __init__(self, latents, ids):
        self.latents, self.ids = latents, ids

    def draw(self, count, empty, drop):
        """A random batch: latents and token ids, with the empty caption for a share `drop`."""
        device = self.latents.device
        index = torch.randint(self.latents.shape[0], (count,), device=device)
        which = torch.randint(self.ids.shape[1], (count,), device=device)
        ids = self.ids[index, which].long()
        ids = torch.where(torch.rand(count, 1, device=device) < drop, empty[None], ids)
        return self.latents[index], ids


def prepare_set(tokenizer_folder, limit, seed):
    """Scenes and token ids [N, K, 77] of a training set: processor work, done beside other stages."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    scenes = sample_scenes(limit, generator, forbidden=forbidden_table())
    words = captions_of(scenes, CAPTIONS_PER_SCENE, seed)
    ids = tokenize(load_tokenizer(tokenizer_folder), [c for row in words for c in row])
    return scenes, ids.view(limit, CAPTIONS_PER_SCENE, -1)


@torch.no_grad()
def build_cache(vae, scenes, ids, frames, budget, size, device, log, chunk=None):
    """Draws and encodes `frames` consecutive frames of each scene, for at most `budget` seconds."""
    canvas = Canvas(size, device)
    chunk = chunk or max(1, (768 if device.type == "cuda" else 32) // frames)
    dtype = next(vae.parameters()).dtype
    steps = torch.arange(frames, device=device)
    start = time.monotonic()
    parts, at = [], 0
    while at < len(scenes) and (at == 0 or time.monotonic() - start < budget):
        n = min(chunk, len(scenes) - at)
        part = scenes[slice(at, at + n)].to(device)
        movie = draw_subject(part, steps, canvas, draw_background(part, canvas))
        flat = movie.flatten(0, 1).mul_(2).sub_(1).to(dtype)
        z = torch.cat([vae.encode(p).latents for p in flat.split(384)])
        parts.append(z.view(n, frames, *z.shape[1:]).to(torch.float16))
        at += n
        if device.type == "cuda" and len(parts) % 8 == 0:
            torch.cuda.synchronize()  # keeps the clock honest
    latents = torch.cat(parts)
    log("cache", scenes=at, frames=frames, seconds=round(time.monotonic() - start, 1),
        mean=round(latents.float().mean().item(), 3), std=round(latents.float().std().item(), 3))
    return LatentCache(latents, ids[:at].to(device))

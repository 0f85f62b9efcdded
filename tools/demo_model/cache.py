"""Training material held in device memory: pictures for the autoencoder, latents and captions after it."""
import dataclasses
import time

import torch

from captions import TIME_REVERSED, captions_of, forbidden_table
from nets import load_tokenizer
from render import Canvas, draw_background
from scene import MOTIONS, sample_scenes
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
    """Latents [N, F, C, h, w] with token ids of their captions: [N, 1, K, 77], or [N, 2, K, 77] with those of the
    clips in reverse order."""

    def __init__(self, latents, ids, scenes):
        self.latents, self.ids = latents, ids
        motion, turned = scenes.motion, reversed_in_time(scenes)
        device = latents.device
        # A clip that would show an evaluation scene when turned is never turned.
        allowed = ~forbidden_table()[scenes.colour, scenes.shape, turned.motion, scenes.setting, scenes.time]
        self.may_turn = allowed.to(device)
        self.directed = (motion != turned.motion).to(device)
        self.backward = (motion > turned.motion).to(device)  # counterclockwise, to the left

    def draw(self, count, empty, drop, forward=None, chance=None):
        """A random batch: latents and token ids, with the empty caption for a share `drop`. `chance` [N]: how often each
        scene is drawn, in any unit; None: all alike.

        Clips (`forward` a tensor, the share of the clips with a direction that run clockwise or to the right): a clip
        that has to is shown with its frames in reverse order and the captions of what it shows then, and so is half of
        those without a direction. A world that is the same in both directions gives the motion modules no reason to
        tell past from future, and without that no word for a direction can mean anything to them; an uneven share
        gives one."""
        device = self.latents.device
        if chance is None:
            index = torch.randint(self.latents.shape[0], (count,), device=device)
        else:
            index = torch.multinomial(chance, count, replacement=True)
        which = torch.randint(self.ids.shape[2], (count,), device=device)
        latents, turn = self.latents[index], torch.zeros_like(index)
        if forward is not None:
            chance = torch.rand(count, device=device)
            turned = torch.where(self.backward[index], chance < forward, chance >= forward)
            turned = self.may_turn[index] & torch.where(self.directed[index], turned, chance < 0.5)
            latents = torch.where(turned.view(-1, 1, 1, 1, 1), latents.flip(1), latents)
            turn = turned.long()
        ids = self.ids[index, turn, which].long()
        return latents, torch.where(torch.rand(count, 1, device=device) < drop, empty[None], ids)


def reversed_in_time(scenes):
    """The scenes as their clips show them in reverse order."""
    table = torch.tensor([MOTIONS.index(TIME_REVERSED.get(m, m)) for m in MOTIONS])
    return dataclasses.replace(scenes, motion=table[scenes.motion])


def prepare_set(tokenizer_folder, limit, seed, clips):
    """Scenes and token ids of a training set ([N, 2, K, 77] for clips, [N, 1, K, 77] for pictures): processor work,
    done beside other stages."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    scenes = sample_scenes(limit, generator, forbidden=forbidden_table())
    tokenizer = load_tokenizer(tokenizer_folder)
    ids = []
    for shown in (scenes, reversed_in_time(scenes)) if clips else (scenes,):
        words = captions_of(shown, CAPTIONS_PER_SCENE, seed)
        ids.append(tokenize(tokenizer, [c for row in words for c in row]).view(limit, CAPTIONS_PER_SCENE, -1))
    return scenes, torch.stack(ids, 1)


@torch.no_grad()
def build_cache(vae, scenes, ids, frames, budget, size, device, log, chunk=None):
    """Draws and encodes `frames` consecutive frames of each scene, for at most `budget` seconds."""
    canvas = Canvas(size, device)
    chunk = chunk or max(1, (768 if device.type == "cuda" else 32) // frames)
    dtype = next(vae.parameters()).dtype
    gpu = device.type == "cuda"
    layout, pictures = (torch.contiguous_format, 384) if gpu else (torch.channels_last, 8)  # what is quick there
    vae = vae.to(memory_format=layout)
    steps = torch.arange(frames, device=device)
    start = time.monotonic()
    parts, at = [], 0
    while at < len(scenes) and (at == 0 or time.monotonic() - start < budget):
        n = min(chunk, len(scenes) - at)
        part = scenes[slice(at, at + n)].to(device)
        movie = draw_subject(part, steps, canvas, draw_background(part, canvas))
        flat = movie.flatten(0, 1).mul_(2).sub_(1).to(dtype).contiguous(memory_format=layout)
        z = torch.cat([vae.encode(p).latents for p in flat.split(pictures)])
        parts.append(z.view(n, frames, *z.shape[1:]).to(torch.float16))
        at += n
        if gpu and len(parts) % 8 == 0:
            torch.cuda.synchronize()  # keeps the clock honest
    latents = torch.cat(parts)
    log("cache", scenes=at, frames=frames, seconds=round(time.monotonic() - start, 1),
        mean=round(latents.float().mean().item(), 3), std=round(latents.float().std().item(), 3))
    return LatentCache(latents, ids[:at].to(device), scenes[slice(0, at)])

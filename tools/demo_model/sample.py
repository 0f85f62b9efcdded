"""Sampling for sample sheets and distillation: DDIM on diffusers' "trailing" timesteps."""
import numpy
import torch
from PIL import Image

from nets import LATENT_CHANNELS, WINDOW


def trailing(steps, total=1000):
    """diffusers' trailing timesteps."""
    return [int(round(total - i * total / steps)) - 1 for i in range(steps)]


def ddim_move(x, v, alpha, alpha_next):
    """One deterministic step from cumulative alpha to alpha_next for a velocity prediction."""
    a, s = alpha ** 0.5, (1 - alpha) ** 0.5
    b, r = alpha_next ** 0.5, (1 - alpha_next) ** 0.5
    return b * (a * x - s * v) + r * (s * x + a * v)


def guided(model, x, t, context, empty, guidance):
    """Velocity with classifier-free guidance. x is [B, C, F, h, w]; context is [B, 77, D]."""
    frames = x.shape[2]
    if guidance == 1:
        return model(x, t, context.repeat_interleave(frames, 0)).sample
    both = torch.cat([empty.expand_as(context), context]).repeat_interleave(frames, 0)
    u, c = model(torch.cat([x, x]), t, both).sample.chunk(2)
    return u + guidance * (c - u)


@torch.no_grad()
def sample(model, context, empty, alphas, steps=20, guidance=3.0, size=16, generator=None, frames=WINDOW):
    """Latents [B, C, F, h, w] for text states `context` [B, 77, D]."""
    device, dtype = context.device, context.dtype
    x = torch.randn(len(context), LATENT_CHANNELS, frames, size, size, generator=generator).to(device)
    times = trailing(steps)
    for i, t in enumerate(times):
        v = guided(model, x.to(dtype), torch.tensor([t], device=device), context, empty, guidance)
        after = alphas[times[i + 1]] if i + 1 < steps else torch.ones((), device=device)
        x = ddim_move(x, v.float(), alphas[t], after)
    return x


@torch.no_grad()
def sample_image(unet, context, empty, alphas, steps=20, guidance=3.0, size=16, generator=None):
    """The same for single pictures with a UNet2DConditionModel."""
    device, dtype = context.device, context.dtype
    x = torch.randn(len(context), LATENT_CHANNELS, size, size, generator=generator).to(device)
    times = trailing(steps)
    both = torch.cat([empty.expand_as(context), context])
    for i, t in enumerate(times):
        y = x.to(dtype)
        u, c = unet(torch.cat([y, y]), torch.tensor([t], device=device), both).sample.chunk(2)
        v = u + guidance * (c - u)
        after = alphas[times[i + 1]] if i + 1 < steps else torch.ones((), device=device)
        x = ddim_move(x, v.float(), alphas[t], after)
    return x


@torch.no_grad()
def decode(vae, latents, chunk=64):
    """Pictures in [0, 1] from latents [N, C, h, w]."""
    dtype = next(vae.parameters()).dtype
    parts = [vae.decode(z.to(dtype)).sample.float() for z in latents.split(chunk)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def write_sheet(path, rows):
    """Writes a PNG of pictures given as rows [R, K, 3, H, W] in [0, 1]."""
    rows = rows.detach().float().cpu()
    r, k, c, h, w = rows.shape
    sheet = rows.permute(0, 3, 1, 4, 2).reshape(r * h, k * w, c)
    Image.fromarray((sheet.numpy() * 255 + 0.5).astype(numpy.uint8)).save(path)

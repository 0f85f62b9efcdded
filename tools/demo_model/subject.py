"""The subject of a scene: signed distances of its shapes, its colour, and its composition over a background."""
import math

import torch

from scene import PIVOT_Y, pose


ROPE = torch.tensor([0.40, 0.34, 0.32])[None, :, None, None]


def _fold(px, py, nx, ny):
    """Reflects points onto the positive side of the line with normal (nx, ny)."""
    d = 2 * (px * nx + py * ny).clamp(min=0)
    return px - d * nx, py - d * ny


def _star(px, py):
    outer, inner = 1.10, 0.47
    px = px.abs()
    py = -py
    k1 = (0.809016994375, -0.587785252292)
    k2 = (-k1[0], k1[1])
    px, py = _fold(px, py, *k1)
    px, py = _fold(px, py, *k2)
    px = px.abs()
    py = py - outer
    bx, by = inner * 0.587785252292, inner * 0.809016994375 - outer
    h = ((px * bx + py * by) / (bx * bx + by * by)).clamp(0, outer)
    qx, qy = px - bx * h, py - by * h
    return torch.sqrt(qx * qx + qy * qy + 1e-9) * torch.sign(py * bx - px * by)


def _heart(px, py):
    px = (px / 1.72).abs()
    py = (-py / 1.72) + 0.56
    top = torch.sqrt((px - 0.25) ** 2 + (py - 0.75) ** 2 + 1e-9) - math.sqrt(2) / 4
    m = 0.5 * (px + py).clamp(min=0)
    low = torch.sqrt(torch.minimum(px ** 2 + (py - 1) ** 2, (px - m) ** 2 + (py - m) ** 2) + 1e-9)
    low = low * torch.sign(px - py)
    return torch.where(px + py > 1, top, low) * 1.72


def signed_distance(shape, px, py):
    """Distance to shape number `shape`'s outline at (px, py), in units of the subject's radius."""
    if shape == 0:
        return torch.sqrt(px * px + py * py + 1e-9) - 0.93
    if shape == 1:
        corner = 0.06
        qx, qy = px.abs() - (0.80 - corner), py.abs() - (0.80 - corner)
        outside = torch.sqrt(qx.clamp(min=0) ** 2 + qy.clamp(min=0) ** 2 + 1e-9)
        return outside + torch.maximum(qx, qy).clamp(max=0) - corner
    if shape == 2:
        py = py - 0.16
        c, s = math.cos(math.pi / 6), math.sin(math.pi / 6)
        return torch.maximum(py, torch.maximum(c * px - s * py, -c * px - s * py)) - 0.57
    if shape == 3:
        return _star(px, py)
    if shape == 4:
        return _heart(px, py)
    if shape == 5:
        return (px.abs() / 0.74 + py.abs() / 1.08 - 1) * 0.61
    return (torch.sqrt(px * px + py * py + 1e-9) - 0.70).abs() - 0.25


def hue_to_rgb(hue, light):
    """Subject colour [.., 3] from hue in degrees and lightness -1 .. 1."""
    h = hue / 60
    wheel = torch.stack([(h - 3).abs() - 1, 2 - (h - 2).abs(), 2 - (h - 4).abs()], -1).clamp(0, 1)
    light = light[..., None]
    value = 0.90 + 0.08 * light
    saturation = 0.84 - 0.16 * light
    return value * (1 - saturation + saturation * wheel)


def draw_subject(scenes, frames, canvas, background):
    """Composes subjects over backgrounds [N, 3, H, W] for frames [T]: pictures [N, T, 3, H, W]."""
    x, y, radius, angle = pose(scenes, frames)
    n, t = x.shape
    out = torch.empty(n, t, 3, canvas.size, canvas.size, device=canvas.device)
    colour = hue_to_rgb(scenes.hue, scenes.light)
    wraps = (scenes.motion == 6) | (scenes.motion == 7)
    for k in range(7):
        index = (scenes.shape == k).nonzero()[:, 0]
        if not index.numel():
            continue
        cut = [v[index].reshape(-1, 1, 1) for v in (x, y, radius, angle)]
        hangs = (scenes.motion[index] == 4)[:, None].expand(-1, t).reshape(-1, 1, 1)
        pivot = scenes.cx[index][:, None].expand(-1, t).reshape(-1, 1, 1)
        wrap = wraps[index][:, None].expand(-1, t).reshape(-1, 1, 1)
        rgb = colour[index][:, None].expand(-1, t, -1).reshape(-1, 3, 1, 1)
        back = background[index][:, None].expand(-1, t, -1, -1, -1).reshape(
            -1, 3, canvas.size, canvas.size)
        out[index] = _compose(k, cut, hangs, pivot, wrap, rgb, canvas, back).reshape(
            -1, t, 3, canvas.size, canvas.size)
    return out


def _compose(shape, cut, hangs, pivot, wrap, rgb, canvas, picture):
    x, y, radius, angle = cut
    gx, gy = canvas.x[0], canvas.y[0]  # [1, 1, W], [1, H, 1]
    dx = gx - x
    dx = torch.where(wrap, torch.remainder(dx + 128, 256.0) - 128, dx)  # the picture is a torus here
    dy = gy - y
    c, s = torch.cos(angle), torch.sin(angle)
    px, py = (c * dx + s * dy) / radius, (c * dy - s * dx) / radius
    d = signed_distance(shape, px, py)
    pixels = d * radius
    rope = _rope(gx, gy, pivot, x, y, canvas.edge) * hangs * (px * px + py * py > 0.6)
    picture = torch.lerp(picture, ROPE.to(canvas.device), rope[:, None])
    shadow = torch.exp(-(pixels.clamp(min=0) / 7) ** 1.0) * 0.22  # a soft halo lifts it off
    picture = picture * (1 - shadow[:, None])
    cover = (0.5 - pixels / canvas.edge).clamp(0, 1)[:, None]
    light = 1.0 - 0.16 * (0.7 * px + 0.9 * py).clamp(-1, 1)
    rim = 1 - 0.42 * torch.exp(-((pixels + 1.2) / 2.6) ** 2)
    shine = torch.exp(-((px + 0.30) ** 2 + (py + 0.36) ** 2) / 0.07) * 0.30
    body = rgb * (light * rim)[:, None]
    body = (body + (1 - body) * shine[:, None]).clamp(0, 1)
    return torch.lerp(picture, body, cover)


def _rope(gx, gy, pivot, x, y, edge):
    """Coverage of the line from the pivot to the subject."""
    bx, by = x - pivot, y - PIVOT_Y
    h = (((gx - pivot) * bx + (gy - PIVOT_Y) * by) / (bx * bx + by * by + 1e-6)).clamp(-1, 1)
    dist = torch.sqrt((gx - pivot - bx * h) ** 2 + (gy - PIVOT_Y - by * h) ** 2 + 1e-9)
    return ((1.7 - dist) / max(edge, 1.0) + 0.5).clamp(0, 1)

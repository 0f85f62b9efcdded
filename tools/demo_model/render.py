"""Draws scenes: anti-aliased, softly shaded, batched tensor code that runs on any device.

The background of a scene stands still and is drawn once; the subject is composed over it frame by frame.
"""
import torch

from scene import SETTINGS

# Sky: (top, middle, horizon) per time of day.
SKY = torch.tensor([
    [[0.47, 0.62, 0.86], [0.86, 0.74, 0.86], [1.00, 0.84, 0.76]],  # dawn
    [[0.22, 0.52, 0.92], [0.50, 0.75, 0.98], [0.82, 0.93, 1.00]],  # day
    [[0.27, 0.13, 0.42], [0.78, 0.27, 0.36], [1.00, 0.62, 0.22]],  # sunset
    [[0.015, 0.02, 0.09], [0.04, 0.06, 0.19], [0.10, 0.15, 0.33]],  # night
])
LIGHT = torch.tensor([[0.90, 0.80, 0.88], [1.0, 1.0, 1.0], [0.80, 0.50, 0.46], [0.22, 0.28, 0.47]])
DISC = torch.tensor([[1.0, 0.93, 0.80], [1.0, 0.98, 0.86], [1.0, 0.78, 0.42], [0.93, 0.94, 0.98]])
DISC_RADIUS = torch.tensor([13.0, 12.0, 18.0, 12.0])
DISC_HEIGHT = torch.tensor([100.0, 36.0, 118.0, 40.0])
GLOW = torch.tensor([0.35, 0.30, 0.45, 0.16])
LAMPS = torch.tensor([[1.0, 0.90, 0.62], [0.72, 0.86, 0.97], [1.0, 0.80, 0.42], [1.0, 0.85, 0.48]])
LAMP_SHARE = torch.tensor([0.35, 0.75, 0.5, 0.55])

NIGHT = 3


class Canvas:
    """Pixel coordinates of a square picture, in units of a 256x256 one."""

    def __init__(self, size, device):
        step = 256.0 / size
        line = (torch.arange(size, device=device) + 0.5) * step
        self.size, self.device, self.edge = size, device, step
        self.x = line[None, None, None, :]  # [1, 1, 1, W]
        self.y = line[None, None, :, None]  # [1, 1, H, 1]

    def below(self, height):
        """Coverage of what lies below a line at y = height [N, 1, 1, W]."""
        return ((self.y - height) / self.edge + 0.5).clamp(0, 1)


def _per_scene(table, scenes):
    value = table.to(scenes.time.device)[scenes.time]
    return value[..., None, None] if value.dim() == 2 else value[:, None, None, None]


def _rgb(colour, device):
    return torch.tensor(colour, device=device)[None, :, None, None]


def _column(u, index):
    return u[:, index, None, None, None]


def _sky(canvas, scenes, horizon):
    table = SKY.to(canvas.device)[scenes.time]
    top, middle, low = (table[:, i, :, None, None] for i in range(3))
    h = (canvas.y / horizon).clamp(0, 1)
    sky = torch.lerp(torch.lerp(top, middle, (h / 0.6).clamp(0, 1)), low,
                     ((h - 0.45) / 0.55).clamp(0, 1) ** 1.3)
    return sky


def _disc(canvas, scenes, sky):
    """Sun or moon with a glow, and its place for reflections."""
    u = scenes.layout
    place = 34 + 188 * _column(u, 0)
    height = _per_scene(DISC_HEIGHT, scenes) + 14 * (_column(u, 1) - 0.5)
    radius = _per_scene(DISC_RADIUS, scenes)
    dist = torch.sqrt((canvas.x - place) ** 2 + (canvas.y - height) ** 2)
    colour = _per_scene(DISC, scenes)
    glow = _per_scene(GLOW, scenes) * torch.exp(-(dist - radius).clamp(min=0) / 26)
    sky = torch.lerp(sky, colour, glow)
    night = (scenes.time == NIGHT)[:, None, None, None]
    cover = ((radius - dist) / canvas.edge + 0.5).clamp(0, 1)
    bite = torch.sqrt((canvas.x - place - 6) ** 2 + (canvas.y - height + 3) ** 2)
    crescent = ((bite - radius * 0.86) / canvas.edge + 0.5).clamp(0, 1)
    cover = torch.where(night, cover * crescent, cover)
    return torch.lerp(sky, colour, cover), place


def _spots(canvas, px, py, sx, sy, strength):
    """Sum of Gaussian spots: px, py, sx, sy, strength are [N, K]; returns [N, 1, H, W]."""
    gx = torch.exp(-((canvas.x[0, 0, 0][None, None] - px[..., None]) / sx[..., None]) ** 2)
    gy = torch.exp(-((canvas.y[0, 0, :, 0][None, None] - py[..., None]) / sy[..., None]) ** 2)
    return torch.einsum("nkh,nkw->nhw", gy * strength[..., None], gx)[:, None]


def _hashed(u, count, salt):
    """[N, count] numbers in [0, 1) hashed from each scene's layout."""
    index = torch.arange(count, device=u.device)[None, :] + 1
    key = u[:, salt % 16, None] * 37.7 + u[:, 16 + salt % 16, None] * 11.3 + salt * 0.731
    return torch.remainder(torch.sin(index * 12.9898 + key * 78.233) * 43758.5453, 1.0)


def _stars_and_clouds(canvas, scenes, sky):
    u = scenes.layout
    night = (scenes.time == NIGHT)[:, None, None, None]
    count = 24
    sigma = (1.5 + 1.0 * _hashed(u, count, 3)) * max(1.0, canvas.edge)
    stars = _spots(canvas, 256 * _hashed(u, count, 1), 118 * _hashed(u, count, 2), sigma, sigma,
                   0.55 + 0.45 * _hashed(u, count, 4))
    count = 4
    px, py = 256 * _hashed(u, count, 5), 24 + 58 * _hashed(u, count, 6)
    wide, high = 20 + 20 * _hashed(u, count, 7), 5 + 4 * _hashed(u, count, 8)
    clouds = _spots(canvas, px, py, wide, high, torch.ones_like(px))
    clouds = clouds + _spots(canvas, px + 0.5 * wide, py - 5, wide * 0.55, high * 1.15,
                             0.8 * torch.ones_like(px))
    cloud_colour = torch.lerp(_per_scene(DISC, scenes), _per_scene(LIGHT, scenes), 0.35)
    lit = torch.lerp(sky, cloud_colour, (0.62 * clouds).clamp(0, 0.72))
    return torch.where(night, sky + stars.clamp(0, 1) * (0.95 - sky), lit)


def _wave(canvas, u, first, base, size, lengths):
    """A ridge line [N, 1, 1, W]: sums of sines with the scene's own phases."""
    line = torch.full_like(canvas.x, 0.0) + base
    for i, (length, share) in enumerate(lengths):
        stretch = 0.8 + 0.4 * _column(u, first + 2 * i)
        line = line - size * share * torch.sin(
            2 * torch.pi * (canvas.x / (length * stretch) + _column(u, first + 2 * i + 1)))
    return line


def _tents(canvas, px, top, slope, floor):
    """Lower envelope (in y) of tents with peaks at (px, top) [N, K]; returns [N, 1, 1, W]."""
    x = canvas.x[:, 0]  # [1, 1, W]
    y = top[..., None] + slope[..., None] * (x - px[..., None]).abs()
    return torch.minimum(y.amin(1, keepdim=True)[:, None], floor)


def _layer(canvas, scenes, picture, ridge, colour, fog, shade=0.25, depth=90.0):
    """A ground layer below `ridge`, lit by the time of day, fading into haze far away."""
    light = _per_scene(LIGHT, scenes)
    haze = SKY.to(canvas.device)[scenes.time][:, 2, :, None, None]
    lit = torch.lerp(_rgb(colour, canvas.device) * light, haze, fog)
    fall = ((canvas.y - ridge) / depth).clamp(0, 1)
    return torch.lerp(picture, lit * (1.06 - shade * fall), canvas.below(ridge))


def _hills(canvas, scenes, sky):
    u = scenes.layout
    far = _wave(canvas, u, 20, 128 + 8 * _column(u, 2), 20, ((210, 0.7), (90, 0.3)))
    mid = _wave(canvas, u, 24, 164 + 8 * _column(u, 3), 20, ((170, 0.75), (70, 0.25)))
    near = _wave(canvas, u, 28, 206 + 8 * _column(u, 4), 16, ((230, 0.8), (80, 0.2)))
    picture = _layer(canvas, scenes, sky, far, (0.44, 0.66, 0.50), 0.38)
    picture = _layer(canvas, scenes, picture, mid, (0.33, 0.62, 0.31), 0.14)
    return _layer(canvas, scenes, picture, near, (0.20, 0.48, 0.20), 0.0)


def _desert(canvas, scenes, sky):
    u = scenes.layout
    floor = _wave(canvas, u, 20, 158 + 6 * _column(u, 2), 7, ((240, 0.7), (100, 0.3)))
    px = torch.stack([20 + 90 * u[:, 5], 130 + 100 * u[:, 6]], 1)
    top = torch.stack([86 + 22 * u[:, 7], 104 + 22 * u[:, 8]], 1)
    left = _tents(canvas, px, top, torch.full_like(px, 0.82), floor)
    picture = _layer(canvas, scenes, sky, left, (0.86, 0.69, 0.45), 0.14, 0.1)
    ridge_x = torch.where(((canvas.x - px[:, 0, None, None, None]) > 0) & (canvas.x < 125.0) |
                          ((canvas.x - px[:, 1, None, None, None]) > 0), 1.0, 0.0)
    picture = picture * (1 - 0.22 * ridge_x * canvas.below(left))
    picture = _layer(canvas, scenes, picture, floor, (0.95, 0.79, 0.52), 0.1, 0.2)
    near = _wave(canvas, u, 24, 206 + 10 * _column(u, 3), 17, ((260, 0.75), (110, 0.25)))
    return _layer(canvas, scenes, picture, near, (0.88, 0.64, 0.36), 0.0, 0.35)


def _sea(canvas, scenes, sky, place):
    u = scenes.layout
    horizon = 140 + 10 * _column(u, 2)
    light = _per_scene(LIGHT, scenes)
    depth = ((canvas.y - horizon) / 110).clamp(0, 1)
    mirror = SKY.to(canvas.device)[scenes.time]
    mirrored = torch.lerp(mirror[:, 2, :, None, None], mirror[:, 0, :, None, None], depth ** 0.7)
    water = torch.lerp(mirrored, _rgb((0.05, 0.38, 0.55), canvas.device) * light, 0.45 + 0.25 * depth)
    scale = 5 + 18 * depth
    ripple = torch.sin(2 * torch.pi * ((canvas.y - horizon) / scale + 0.35 * torch.sin(
        canvas.x / (16 + 26 * depth) + 6.3 * _column(u, 3))))
    water = water * (1 + 0.075 * ripple)
    track = torch.exp(-((canvas.x - place) / (10 + 30 * depth)) ** 2) * (0.55 + 0.45 * ripple)
    water = torch.lerp(water, _per_scene(DISC, scenes), 0.55 * track * (1 - 0.45 * depth))
    return torch.lerp(sky, water, canvas.below(horizon))


def _skyline(canvas, scenes, picture, base, width, tall, colour, fog, salt):
    """A row of houses with windows; `width` pixels each."""
    u = scenes.layout
    n = u.shape[0]
    shift = _column(u, 40 + salt) * width
    x = canvas.x + shift  # [N, 1, 1, W]
    house = (x / width).floor().long().clamp(0, 31)[:, 0, 0]  # [N, W]
    heights = _hashed(u, 32, salt)
    top = base - tall * (0.35 + 0.65 * torch.gather(heights, 1, house))[:, None, None, :]
    ground = torch.full_like(top, 300.0)
    gap = torch.remainder(x, width) < 2.0
    top = torch.where(gap, top + 6, top).minimum(ground)
    picture = _layer(canvas, scenes, picture, top, colour, fog, 0.1, 200.0)
    cell_w, cell_h = width / 3.0, 17.0
    column = (x / cell_w).floor().long()[:, 0, 0]  # [N, W]
    row = ((canvas.y) / cell_h).floor().long()[0, 0, :, 0]  # [H]
    code = (column[:, None, :] * 7.13 + row[None, :, None] * 3.77) + u[:, 10 + salt, None, None] * 50
    lit = torch.remainder(torch.sin(code * 12.9898) * 43758.5453, 1.0)[:, None]
    share = _per_scene(LAMP_SHARE, scenes)
    in_x = (torch.remainder(x, cell_w) - cell_w / 2).abs() < cell_w * 0.27
    in_y = (torch.remainder(canvas.y, cell_h) - cell_h / 2).abs() < cell_h * 0.30
    window = in_x & in_y & (lit < share) & (canvas.y > top + 5)
    lamps = _per_scene(LAMPS, scenes)
    return torch.where(window, torch.lerp(picture, lamps, 0.82), picture)


def _city(canvas, scenes, sky):
    picture = _skyline(canvas, scenes, sky, 200.0, 30.0, 96.0, (0.55, 0.60, 0.70), 0.42, 1)
    picture = _skyline(canvas, scenes, picture, 238.0, 45.0, 108.0, (0.36, 0.40, 0.52), 0.08, 2)
    street = torch.full_like(canvas.x, 238.0)
    return _layer(canvas, scenes, picture, street, (0.30, 0.30, 0.36), 0.0, 0.3, 30.0)


def _snow(canvas, scenes, sky):
    u = scenes.layout
    px = torch.stack([10 + 60 * u[:, 5], 95 + 60 * u[:, 6], 185 + 60 * u[:, 7]], 1)
    top = 74 + 40 * torch.stack([u[:, 8], u[:, 9], u[:, 10]], 1)
    floor = torch.full_like(canvas.x, 168.0)
    peaks = _tents(canvas, px, top, torch.full_like(px, 1.05), floor)
    picture = _layer(canvas, scenes, sky, peaks, (0.52, 0.60, 0.74), 0.2, 0.15)
    jag = 6 * torch.sin(canvas.x * 0.42) + 4 * torch.sin(canvas.x * 0.19 + 2)
    cap = ((peaks + 30 + jag - canvas.y) / 3).clamp(0, 1) * canvas.below(peaks)
    white = _rgb((0.97, 0.98, 1.0), canvas.device) * _per_scene(LIGHT, scenes) ** 0.8
    picture = torch.lerp(picture, white, cap * (peaks < 164))
    far = _wave(canvas, u, 20, 160 + 6 * _column(u, 2), 9, ((220, 0.7), (90, 0.3)))
    trees_x = 256 * _hashed(u, 9, 9)
    trees_top = 128 + 14 * _hashed(u, 9, 11)
    pines = _tents(canvas, trees_x, trees_top, torch.full_like(trees_x, 3.4),
                   torch.full_like(canvas.x, 300.0))
    pines = torch.where(pines < far, pines, torch.full_like(pines, 300.0))
    picture = _layer(canvas, scenes, picture, pines, (0.16, 0.34, 0.31), 0.1, 0.1)
    picture = _layer(canvas, scenes, picture, far, (0.90, 0.94, 1.0), 0.04, 0.12)
    near = _wave(canvas, u, 26, 208 + 8 * _column(u, 3), 12, ((240, 0.8), (100, 0.2)))
    return _layer(canvas, scenes, picture, near, (0.98, 0.99, 1.0), 0.0, 0.14)


def _plain(canvas, scenes, sky):
    u = scenes.layout
    horizon = 148 + 12 * _column(u, 2)
    edge = horizon + torch.zeros_like(canvas.x)
    picture = _layer(canvas, scenes, sky, edge, (0.80, 0.74, 0.30), 0.05, 0.12, 110.0)
    depth = ((canvas.y - horizon) / 110).clamp(0.001, 1)
    vanish = 60 + 136 * _column(u, 3)
    furrow = torch.sin((canvas.x - vanish) / (depth + 0.08) * 0.10)
    green = _rgb((0.50, 0.62, 0.20), canvas.device) * _per_scene(LIGHT, scenes)
    stripes = (furrow * 2.2).clamp(-1, 1) * 0.5 + 0.5
    fade = (depth * 4).clamp(0, 1) * canvas.below(edge)
    return torch.lerp(picture, green * (1.05 - 0.15 * depth), 0.7 * stripes * fade)


def draw_background(scenes, canvas):
    """Pictures [N, 3, H, W] in [0, 1] of scenes without their subject. Groups scenes by setting."""
    out = torch.empty(len(scenes), 3, canvas.size, canvas.size, device=canvas.device)
    for k, _ in enumerate(SETTINGS):
        index = (scenes.setting == k).nonzero()[:, 0]
        if not index.numel():
            continue
        part = scenes[index]
        sky = _sky(canvas, part, 165.0)
        sky, place = _disc(canvas, part, sky)
        sky = _stars_and_clouds(canvas, part, sky)
        if k == 2:
            out[index] = _sea(canvas, part, sky, place)
        else:
            draw = (_hills, _desert, None, _city, _snow, _plain)[k]
            out[index] = draw(canvas, part, sky)
    return out.clamp(0, 1)

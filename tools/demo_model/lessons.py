"""Pictures that the evaluator's detectors learn from: renders and what the autoencoder makes of them, with and
without a clear subject, and crops of them."""
import torch
import torch.nn.functional as F

from closeup import SHARP, crop
from render import DISC_HEIGHT, Canvas, draw_background
from scene import COLOURS, TIMES, pose, sample_scenes
from spoil import blur, second_subject, spoil
from subject import draw_subject

KINDS = ("good", "double", "dissolved", "blurred", "empty")
SHARES = (0.58, 0.14, 0.12, 0.10, 0.06)
HARD_SHARES = (0.46, 0.05, 0.43, 0.04, 0.02)
WARM = torch.tensor([COLOURS.index(c) for c in ("red", "orange", "pink")])
ROUND_TRIPS = 0.55  # share of pictures passed through the autoencoder
PER_BACKGROUND = 4


def _uniform(count, low, high, generator):
    return low + (high - low) * torch.rand(count, generator=generator)


@torch.no_grad()
def draw_lessons(count, vae, generator, sunset=False, warm=False):
    """`count` pictures (a multiple of 4) as uint8 [N, 3, 128, 128] and their truth. Subjects are [N, 2]. At sunset the
    sun looks most like a subject, and dissolved subjects of warm colours look most like whole ones."""
    canvas, zero = Canvas(256, "cpu"), torch.zeros(1)
    behind = sample_scenes(count // PER_BACKGROUND, generator, fixed={"time": TIMES.index("sunset")} if sunset else None)
    back = draw_background(behind, canvas)
    index = torch.arange(len(behind)).repeat_interleave(PER_BACKGROUND)
    fixed = {k: getattr(behind, k)[index] for k in ("setting", "time")}
    if warm:
        fixed["colour"] = WARM[torch.randint(len(WARM), (count,), generator=generator)]
    scenes = sample_scenes(count, generator, fixed=fixed)
    clean = draw_subject(scenes, zero, canvas, back[index])
    double, other = second_subject(scenes, zero, canvas, clean, generator)
    clean, double, back = clean[:, 0], double[:, 0], back[index]
    edges = torch.tensor(HARD_SHARES if warm else SHARES).cumsum(0)[:-1]
    kind = torch.bucketize(torch.rand(count, generator=generator), edges)
    pictures = clean.clone()
    for i in range(count):
        name, at = KINDS[kind[i]], slice(i, i + 1)
        if name == "empty":
            pictures[at] = back[at]
        elif name == "good":
            if torch.rand(1, generator=generator) < 0.25:
                pictures[at] = blur(clean[at], _uniform(1, 0.5, 2.2, generator).item())
        else:
            width, opacity = (_uniform(1, *r, generator).item() for r in ((0.04, 0.085), (0.28, 0.58)))
            pictures[at] = spoil(name, clean[at], back[at], double[at], width, opacity)
    passed = (torch.rand(count, generator=generator) < ROUND_TRIPS).nonzero()[:, 0]
    pictures[passed] = round_trip(vae, pictures[passed], generator)
    good, two = kind == KINDS.index("good"), kind == KINDS.index("double")
    (x, y, radius, _), (x2, y2, radius2, _) = (tuple(v[:, 0] for v in pose(s, zero)) for s in (scenes, other))
    pair = lambda a, b: torch.stack([a, b], 1)
    truth = dict(x=pair(x, x2), y=pair(y, y2), radius=pair(radius, radius2), colour=pair(scenes.colour, other.colour),
                 shape=pair(scenes.shape, other.shape), there=pair(kind != KINDS.index("empty"), two),
                 clear=pair(good | two, two), setting=scenes.setting, time=scenes.time,
                 sun=pair(34 + 188 * behind.layout[index, 0],
                          DISC_HEIGHT[behind.time[index]] + 14 * (behind.layout[index, 1] - 0.5)))
    return (F.adaptive_avg_pool2d(pictures, SHARP) * 255 + 0.5).to(torch.uint8), truth


def round_trip(vae, pictures, generator):
    """Pictures [N, 3, 256, 256] through the autoencoder, half of them with disturbed latents, as a sampler
    leaves them."""
    dtype = next(vae.parameters()).dtype
    z = vae.encode((pictures * 2 - 1).to(dtype)).latents.float()
    amount = _uniform(len(z), -0.3, 0.3, generator).clamp(min=0)
    z = z + amount[:, None, None, None] * torch.randn(z.shape, generator=generator)
    return (vae.decode(z.to(dtype)).sample.float() / 2 + 0.5).clamp(0, 1)


def mirrored(pictures, truth):
    """Left and right exchanged; every subject is its own mirror image."""
    turned = torch.stack([256 - truth["sun"][:, 0], truth["sun"][:, 1]], 1)
    return pictures.flip(3), {**truth, "x": 256 - truth["x"], "sun": turned}


def draw_crops(pictures, truth, count, generator):
    """`count` crops of random ones of the pictures, and their truth: around subjects with a tracker's kind of error,
    beside them, at the sun or moon, and anywhere."""
    i = torch.randint(len(pictures), (count,), generator=generator)
    t = {k: v[i] for k, v in truth.items()}
    k = (t["there"][:, 1] & (torch.rand(count, generator=generator) < 0.5)).long()
    of = lambda name: t[name].gather(1, k[:, None])[:, 0]
    x, y, radius = of("x"), of("y"), of("radius")
    error = lambda scale: scale * torch.randn(count, generator=generator).clamp(-2.2, 2.2)
    mode = torch.bucketize(torch.rand(count, generator=generator), torch.tensor([0.70, 0.81, 0.91]))
    turn, away = _uniform(count, 0, 6.2832, generator), _uniform(count, 0.8, 1.9, generator)
    size = 15 * 3.2 ** torch.rand(count, generator=generator)
    places = ((x + radius * error(0.14), y + radius * error(0.14), radius * torch.exp(error(0.11))),
              (x + radius * away * torch.cos(turn), y + radius * away * torch.sin(turn), radius * torch.exp(error(0.2))),
              (t["sun"][:, 0] + error(3), t["sun"][:, 1] + error(3), 15 + 0.5 * (size - 15)),
              (_uniform(count, 0, 256, generator), _uniform(count, 0, 256, generator), size))
    cx, cy, cr = (torch.stack(v).gather(0, mode[None])[0] for v in zip(*places))
    dx = torch.remainder(t["x"] - cx[:, None] + 128, 256) - 128
    far = torch.sqrt(dx ** 2 + (t["y"] - cy[:, None]) ** 2) / t["radius"]
    far = torch.where(t["clear"], far, 9.0)
    meant = mode == 0
    apart = torch.hypot(torch.remainder(t["x"][:, 0] - t["x"][:, 1] + 128, 256) - 128, t["y"][:, 0] - t["y"][:, 1])
    hidden = t["there"][:, 1] & (apart < 0.9 * t["radius"].sum(1))  # two subjects that overlap
    clear = meant & of("clear") & ~hidden
    doubtful = ~clear & of("clear") & (hidden | (far.amin(1) < 0.8))
    move = torch.stack([(torch.remainder(x - cx + 128, 256) - 128) / cr, (y - cy) / cr, torch.log(radius / cr)], 1)
    seen = crop(pictures[i], cx, cy, cr)
    return seen, dict(colour=of("colour"), shape=of("shape"), clear=clear, doubtful=doubtful, move=move)

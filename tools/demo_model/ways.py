"""The stage `ways`: what the words for a direction mean.

Captions and clips alone do not teach it, whatever the text states say (README.md). Where a subject goes follows from
three things together, the word, the order of the frames and the side it is on, and any two of them say nothing, as in a
parity: no gradient leads there. So the word is made to pay at once:

- Pairs of clips leave one known frame in opposite directions and differ in nothing else: one scene shown forward and
  backward in time, one noise, and captions that differ in the word alone. The known frame, which the network reads
  without noise, shows the setting and where the subject is; what is left to learn is the way.
- It is the first frame of the window, so that time has only one side, and of a few scenes, which are learned by heart.
- As soon as the other way's caption costs clearly more than the own one, it gets harder: more scenes, then known frames
  anywhere in the window, then a known frame that is noised more and more, until it is like all others and the lesson
  is an ordinary one.

Beside them go ordinary lessons, most of all once pairs are as hard as they get. They look where shapes and motions are
decided, and count the subject more where it shows already: it is a twentieth of the picture and most of what is asked.
Some of them have known frames as a job that starts from pictures or videos does (known.py), so that the LoRA for those,
which is taught anew on the weights that come of this, has less to do.
"""
import dataclasses
import json
import math

import torch

import known
import nets
from attention import install
from cache import LatentCache
from flat import FlatTrainer, train_for
from scene import MOTIONS, pose
from stages import EMPTY_SHARE, noised_to, per_frame
from text import encode_text

PROGRESS = "ways.json"  # how hard the lessons have become, beside the weights
WINDOW = 2 * nets.WINDOW  # frames of a cached clip, so that a window fits on both sides of its middle
KINDS = {"drift": ("drift-right", "drift-left"), "circle": ("clockwise", "counterclockwise")}
FEW = 8.0  # scenes of a kind at first
SUBJECT = 2.0  # weight of where the subject is or would be going the other way, beside the whole picture
LOW, LOW_AT_LAST = 800, 550  # noise levels from here on, with a clear known frame and with none
HALF_SEEN = 0.2  # more weight of it below SUBJECT_UNSEEN, where it begins to show where it is
ORDINARY, ORDINARY_AT_LAST = 0.25, 0.8  # share of ordinary lessons, which keep what is known; and once pairs are as hard as they get
ORDINARY_LEVELS = ((0.45, 300, 650), (0.4, 650, 980), (0.15, 0, 1000))  # shares: where shapes and where motions are decided, and all
FILLING, FILLING_LEVELS = 0.25, (850, 1000, 0.6)  # share of the ordinary lessons with known frames; their levels (`noised`)
SUBJECT_CLEAR, SUBJECT_UNSEEN = 550, 650  # levels up to which the subject counts as much as the whole picture, and from which not more
HEARD, FAINT = 0.25, 0.015  # by how much the other caption has to cost more, with a clear known frame and with none
ASKED = 0.25  # share of the lessons that are tried with the other way's caption as well
REST = 6  # steps before it gets harder again
EDGE = 9.0  # pixels around a subject that count as its own


def subject_cells(scenes, frames, cells):
    """Which latent pixels the subject covers at `frames` [T]: bool [N, T, cells, cells]."""
    x, y, radius, _ = pose(scenes, frames)
    middle = 256 / cells * (torch.arange(cells, device=x.device) + 0.5)
    across = (middle - x[..., None]).abs()
    drifts = (scenes.motion == MOTIONS.index("drift-right")) | (scenes.motion == MOTIONS.index("drift-left"))
    across = torch.where(drifts.view(-1, 1, 1), torch.minimum(across, 256 - across), across)  # it comes back at the other side
    down = (middle - y[..., None]).abs()
    return down[..., :, None] ** 2 + across[..., None, :] ** 2 < (radius[..., None, None] + EDGE) ** 2


@dataclasses.dataclass
class Difficulty:
    """How hard the lessons are, and how clearly the words are heard: `gap` is the share by which the other way's caption
    costs more where the subject is."""

    scenes: dict  # of each kind
    gap: dict
    reach: float = 0.0  # the last frame of a window that may be the known one
    haze: float = 0.0  # how noisy the known frame may be, as a share of the others' level
    rested: int = 0

    @staticmethod
    def start():
        return Difficulty({k: FEW for k in KINDS}, {k: 0.0 for k in KINDS})

    def heard(self, kind, gap):
        self.gap[kind] += 0.12 * (gap - self.gap[kind])

    def step(self, most):
        """After each lesson: one notch harder where the words are heard. `most`: how many scenes of each kind there are."""
        self.rested += 1
        if self.rested < REST:
            return
        heard = {kind: self.gap[kind] > FAINT + HEARD * (1 - self.haze) for kind in most}
        for kind, limit in most.items():
            if heard[kind] and self.scenes[kind] < limit:
                self.scenes[kind], self.rested = min(float(limit), self.scenes[kind] * 1.12), 0
        if not all(heard.values()) or any(self.scenes[kind] < limit / 4 for kind, limit in most.items()):
            return
        if self.reach < nets.WINDOW - 1:
            self.reach, self.rested = self.reach + 0.25, 0
        elif self.haze < 1:
            self.haze, self.rested = min(1.0, self.haze + 0.012), 0


def both_ways(cache, masks, index, place):
    """Windows through each clip's middle at their frame `place` [N], forward in time and then backward: latents
    [2N, C, F, h, w], where the subject is in either of a pair [2N, F, h, w], and token ids [2N, 77]."""
    steps = torch.arange(nets.WINDOW, device=index.device)[None] - place[:, None]
    forward, backward = nets.WINDOW + steps, nets.WINDOW - steps
    rows = index[:, None]
    z = torch.cat([cache.latents[rows, forward], cache.latents[rows, backward]]).float().permute(0, 2, 1, 3, 4)
    where = masks[rows, forward] | masks[rows, backward]
    wording = torch.randint(cache.ids.shape[2], (len(index),), device=index.device)
    ids = torch.cat([cache.ids[index, 0, wording], cache.ids[index, 1, wording]]).long()
    return z, torch.cat([where, where]), ids


def ordinary_levels(count, device):
    """Noise levels [count] of ordinary lessons, spread evenly over ORDINARY_LEVELS' shares."""
    u = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
    t, below = torch.zeros_like(u), 0.0
    for share, low, high in ORDINARY_LEVELS:
        t = torch.where(u >= below, low + (high - low) * (u - below) / share, t)
        below += share
    return t.long().clamp(max=999)


def mean_where(error, where):
    where = where.float()
    return (error * where).flatten(1).sum(1) / where.flatten(1).sum(1).clamp(min=1)


def pools_of(cache, scenes):
    """Indices of the clips of each kind, in an order that is the same in every run."""
    pools = {}
    for kind, motions in KINDS.items():
        of_kind = torch.isin(scenes.motion, torch.tensor([MOTIONS.index(m) for m in motions]))
        pool = (of_kind & cache.may_turn.cpu()).nonzero()[:, 0]
        if len(pool):
            pools[kind] = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(4))].to(cache.latents.device)
    if not pools:
        raise SystemExit("ways: no clip of the set has a direction; give more --clips or a longer budget for `clips`")
    return pools


@dataclasses.dataclass
class Lesson:
    """Pairs of noised windows that differ in their way alone, the second half going back in time."""

    x: torch.Tensor  # [2N, C, F, h, w]
    target: torch.Tensor  # velocity, like x
    t: torch.Tensor  # [2N], of the frames that are not known
    ids: torch.Tensor  # [2N, 77]
    counted: torch.Tensor  # [2N, F, 1, 1], 0 for a known frame
    subject: torch.Tensor  # [2N, F, h, w], where it is or would be going the other way
    weight: torch.Tensor  # [2N], of the error there


def draw_lesson(run, cache, masks, pool, pairs, hard):
    device, uniform = run.device, lambda: torch.rand(pairs, device=run.device)
    index = pool[torch.randint(len(pool), (pairs,), device=device)]
    place = (uniform() * (1 + int(hard.reach))).long().clamp(max=nets.WINDOW - 1)
    z, subject, ids = both_ways(cache, masks, index, place)
    low = LOW + (LOW_AT_LAST - LOW) * hard.haze
    t = low + (1000 - low) * (torch.arange(pairs, device=device) + uniform()) / pairs
    # At last, half of the lessons have no known frame.
    share = torch.where(uniform() < hard.haze - 0.5, torch.ones_like(t), hard.haze * uniform())
    t, known_t = ((level.long().clamp(max=999)).repeat(2) for level in (t, t * share))
    level = t[:, None].repeat(1, nets.WINDOW).scatter(1, place.repeat(2)[:, None], known_t[:, None])  # of every frame
    counted = (level == t[:, None]).float()[:, :, None, None]
    noise = torch.randn_like(z[:pairs]).repeat(2, 1, 1, 1, 1)
    mixed = lambda alpha, a, b: alpha.sqrt() * a + (1 - alpha).sqrt() * b
    x = mixed(torch.where(level > 0, run.alphas[level], 1.0)[:, None, :, None, None], z, noise)
    target = mixed(run.alphas[t].view(-1, 1, 1, 1, 1), noise, -z)
    # Where nothing shows its place, an error that counts more at the subject makes it worth drawing wherever it might be: two of them.
    weight = SUBJECT * (1 - known_t / SUBJECT_UNSEEN).clamp(min=0) + HALF_SEEN * (t < SUBJECT_UNSEEN)
    return Lesson(x, target, t, ids, counted, subject * counted, weight)


def train_ways(run, text, model, cache, scenes, budget, batch, peak, save, max_steps):
    """`cache` holds clips of WINDOW frames of `scenes`. The text encoder stays as it is."""
    device, pairs = run.device, max(1, batch // 2)
    run.frozen(text)
    trainer = FlatTrainer({"model": model}, run.dtype, device, average=run.options.average)
    install(model, run.dtype, 2 * pairs, run.log)
    masks = subject_cells(scenes.to(device), torch.arange(WINDOW, device=device), run.latent_size)
    marked = LatentCache(torch.cat([cache.latents, masks[:, :, None].to(cache.latents.dtype)], 2), cache.ids, scenes)
    pools = pools_of(cache, scenes)
    most = {kind: len(pool) for kind, pool in pools.items()}
    chance = known.chances(cache)
    file = run.out / PROGRESS
    hard = Difficulty(**json.loads(file.read_text())) if file.exists() else Difficulty.start()

    def predict(x, t, ids):
        with torch.no_grad():
            context = per_frame(encode_text(text, ids))
        return model(x.to(run.dtype), t, context).sample.float()

    def ordinary():
        drawn, ids = marked.draw(2 * pairs, run.empty, EMPTY_SHARE, torch.full((), 0.5, device=device))
        at = int(torch.randint(WINDOW - nets.WINDOW + 1, ()))
        window = drawn[:, at:at + nets.WINDOW].permute(0, 2, 1, 3, 4).float()
        z, subject = window[:, :-1], window[:, -1]
        t = ordinary_levels(2 * pairs, device)
        noise, a, s, x = noised_to(run, z, t)
        error = (predict(x, t, ids) - (a * noise - s * z)).square().mean(1)
        weight = ((SUBJECT_UNSEEN - t) / (SUBJECT_UNSEEN - SUBJECT_CLEAR)).clamp(0, 1)
        trainer.update((error.flatten(1).mean(1) + weight * mean_where(error, subject)).mean())

    def fill():
        predict = lambda x, t, context: model(x, t, context).sample
        trainer.update(known.filling(run, text, cache, pairs, chance, FILLING_LEVELS, predict))

    def both():
        kind = list(pools)[int(torch.randint(len(pools), ()))]
        pool = pools[kind][:math.ceil(hard.scenes[kind])]
        drawn = draw_lesson(run, cache, masks, pool, pairs, hard)
        cost = lambda ids: (predict(drawn.x, drawn.t, ids) - drawn.target).square().mean(1) * drawn.counted
        error = cost(drawn.ids)
        at_subject = mean_where(error, drawn.subject)
        if torch.rand(()) < ASKED:
            with torch.no_grad():
                other = mean_where(cost(drawn.ids.roll(pairs, 0)), drawn.subject)
                hard.heard(kind, (other.mean() / at_subject.mean()).item() - 1)
        trainer.update((error.flatten(1).mean(1) + drawn.weight * at_subject).mean())
        hard.step(most)

    def keep(seconds):
        save(seconds, unet=trainer.averaged("model"))
        file.write_text(json.dumps(dataclasses.asdict(hard)) + "\n")  # last: lessons may be easier than the weights, not harder
        run.log("ways", reach=hard.reach, haze=round(hard.haze, 3), scenes={k: int(v) for k, v in hard.scenes.items()},
                gap={k: round(v, 3) for k, v in hard.gap.items()})

    def step():
        share = ORDINARY_AT_LAST if hard.haze == 1 else ORDINARY
        if torch.rand(()) >= share:
            both()
        elif torch.rand(()) < FILLING:
            fill()
        else:
            ordinary()

    train_for("ways", trainer, step, budget, peak, peak * 0.05, 2 * pairs, run.log, keep, max_steps=max_steps, fixed=False)

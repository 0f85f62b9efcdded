"""Captions: a small grammar with several wordings, and the prompts that training never sees."""
import random

import torch

from scene import COLOURS, KIND_OF_MOTION, MOTION_KINDS, MOTIONS, SETTINGS, SHAPES, SIZES, SPEEDS, TIMES

COLOUR_WORDS = {c: (c,) for c in COLOURS}
COLOUR_WORDS["purple"] = ("purple", "violet")
COLOUR_WORDS["turquoise"] = ("turquoise", "cyan")
SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium", "medium-sized"), "large": ("large", "big")}
SPEED_WORDS = {"fast": ("quickly", "fast"), "normal": ("",), "slow": ("slowly",)}

# Wordings per motion; {s} takes the speed word. The second list leaves the direction open.
MOTION_WORDS = {
    "clockwise": ("moving {s} in circles clockwise", "circling clockwise {s}", "going round clockwise {s}"),
    "counterclockwise": ("moving {s} in circles counterclockwise", "circling counterclockwise {s}",
                         "going round counterclockwise {s}"),
    "left-right": ("bouncing {s} left and right", "moving {s} from side to side", "going left and right {s}"),
    "up-down": ("bouncing {s} up and down", "jumping up and down {s}", "hopping {s}"),
    "swing": ("swinging {s} on a rope", "swinging {s}", "swinging {s} like a pendulum"),
    "pulse": ("pulsing {s}", "growing and shrinking {s}"),
    "drift-right": ("drifting {s} to the right", "floating {s} to the right"),
    "drift-left": ("drifting {s} to the left", "floating {s} to the left"),
    "rest": ("resting", "standing still", "at rest"),
}
OPEN_MOTION_WORDS = {
    "clockwise": ("moving {s} in circles", "circling {s}", "going round {s}"),
    "counterclockwise": ("moving {s} in circles", "circling {s}", "going round {s}"),
    "drift-right": ("drifting {s}", "floating {s} past"),
    "drift-left": ("drifting {s}", "floating {s} past"),
}
# What a motion is when its frames are shown in reverse order; the others are the same either way.
TIME_REVERSED = {"clockwise": "counterclockwise", "counterclockwise": "clockwise",
                 "drift-right": "drift-left", "drift-left": "drift-right"}
SETTING_WORDS = {
    "hills": ("over green hills", "in the hills", "above rolling hills"),
    "desert": ("in the desert", "over a desert with pyramids", "above desert dunes"),
    "sea": ("over the sea", "at the sea", "above the ocean"),
    "city": ("over a city", "in the city", "above city houses"),
    "snow": ("over snow", "in the snow", "above snowy mountains"),
    "plain": ("over a plain", "above fields", "on the plain"),
}
TIME_WORDS = {
    "dawn": ("at dawn", "in the early morning"),
    "day": ("by day", "on a sunny day", "during the day"),
    "sunset": ("at sunset", "in the evening"),
    "night": ("at night", "under the moon and stars"),
}


def _tidy(text):
    return " ".join(text.replace(" ,", ",").split())


def caption(colour, shape, motion, setting, time, speed="normal", size=None, shade=None,
            open_direction=False, rng=None):
    """One caption. `size` and `shade` None leave them open. Without `rng` the first wording is used."""
    choose = (lambda words: words[0]) if rng is None else rng.choice
    table = OPEN_MOTION_WORDS if open_direction and motion in OPEN_MOTION_WORDS else MOTION_WORDS
    move = choose(table[motion]).format(s=choose(SPEED_WORDS[speed]))
    size_word = choose(SIZE_WORDS[size]) if size else ""
    thing = f"{size_word} {shade or ''} {choose(COLOUR_WORDS[colour])} {shape}".split()
    article = "an" if thing[0][0] in "aeiou" else "a"
    subject = " ".join([article, *thing])
    where, when = choose(SETTING_WORDS[setting]), choose(TIME_WORDS[time])
    form = 0 if rng is None else rng.randrange(4)
    if form <= 1:
        return _tidy(f"{subject} {move} {where} {when}")
    if form == 2:
        return _tidy(f"{where} {when}, {subject} {move}")
    return _tidy(f"{when}, {subject} {move} {where}")


OPEN_DIRECTION = 0.2  # share of captions; the first checkpoint was trained with 0.4


def captions_of(scenes, per_scene, seed):
    """`per_scene` random captions for each scene, each leaving a random choice of attributes open."""
    rng = random.Random(seed)
    columns = [getattr(scenes, n).tolist() for n in
               ("colour", "shape", "motion", "setting", "time", "speed", "size", "light")]
    result = []
    for colour, shape, motion, setting, time, speed, size, light in zip(*columns):
        row = []
        for _ in range(per_scene):
            shade = "light" if light > 0.4 else "dark" if light < -0.4 else None
            row.append(caption(
                COLOURS[colour], SHAPES[shape], MOTIONS[motion], SETTINGS[setting], TIMES[time],
                speed=SPEEDS[speed] if motion != 8 else "normal",
                size=SIZES[size] if rng.random() < 0.55 else None,
                shade=shade if rng.random() < 0.5 else None,
                open_direction=rng.random() < OPEN_DIRECTION, rng=rng))
        result.append(row)
    return result


EVALUATION_PROMPTS = 200
WITHHELD_COMBINATIONS = 50
_SPLIT_SEED = 20_240


def withheld_combinations():
    """The (colour, shape, motion kind) triples that no training scene has."""
    every = [(c, s, k) for c in range(len(COLOURS)) for s in range(len(SHAPES))
             for k in range(len(MOTION_KINDS))]
    return sorted(random.Random(_SPLIT_SEED).sample(every, WITHHELD_COMBINATIONS))


def evaluation_scenes():
    """The 200 (colour, shape, motion, setting, time) tuples kept for evaluation, none of a withheld
    triple; every value of every attribute appears equally often, to within one."""
    rng = random.Random(_SPLIT_SEED + 1)
    withheld = set(withheld_combinations())
    chosen = []
    while len(chosen) < EVALUATION_PROMPTS:
        block = [[i % n for i in range(2520)] for n in
                 (len(COLOURS), len(SHAPES), len(MOTIONS), len(SETTINGS), len(TIMES))]
        for column in block:
            rng.shuffle(column)
        for row in zip(*block):
            if (row[0], row[1], KIND_OF_MOTION[row[2]]) not in withheld and row not in chosen:
                chosen.append(row)
                if len(chosen) == EVALUATION_PROMPTS:
                    break
    return chosen


def forbidden_table():
    """Boolean table over (colour, shape, motion, setting, time): True is never drawn for training."""
    table = torch.zeros(len(COLOURS), len(SHAPES), len(MOTIONS), len(SETTINGS), len(TIMES), dtype=torch.bool)
    for colour, shape, kind in withheld_combinations():
        for motion, k in enumerate(KIND_OF_MOTION):
            if k == kind:
                table[colour, shape, motion] = True
    for row in evaluation_scenes():
        table[tuple(row)] = True
    return table


def every_word():
    """A text that holds every wording, for training the tokenizer."""
    rng = random.Random(1)
    lines = []
    for _ in range(4000):
        lines.append(caption(rng.choice(COLOURS), rng.choice(SHAPES), rng.choice(MOTIONS),
                             rng.choice(SETTINGS), rng.choice(TIMES), rng.choice(SPEEDS),
                             rng.choice((None, *SIZES)), rng.choice((None, "light", "dark")),
                             rng.random() < 0.3, rng))
    return lines

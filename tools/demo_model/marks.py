"""Which attributes of a clip are right, and shares of them."""
import collections

from scene import COLOURS, MOTIONS, SETTINGS, SHAPES, TIMES, period_of

NAMES = {"colour": COLOURS, "shape": SHAPES, "motion": MOTIONS, "setting": SETTINGS, "time": TIMES}
SPEED_WITHIN = 0.20


def right(seen, truth):
    """Which attributes are right. `truth` has an index per attribute and the period (0 at rest)."""
    result = {k: seen[k] == truth[k] for k in NAMES}
    if truth["period"]:
        near = abs(seen["period"] / truth["period"] - 1) <= SPEED_WITHIN
        result["speed"] = result["motion"] and near
    return result


def shares(rows):
    """Mean of each attribute over the rows that have it."""
    table = collections.defaultdict(list)
    for row in rows:
        for k, v in row.items():
            table[k].append(v)
    return {k: sum(v) / len(v) for k, v in table.items()}


def truth_of(scenes, i=0):
    """Names and period of scene `i`, as `right` wants them."""
    truth = {k: int(getattr(scenes, k)[i]) for k in NAMES}
    return {**truth, "period": 0.0 if truth["motion"] == 8 else float(period_of(scenes)[i])}

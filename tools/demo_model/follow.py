"""Measures of a long video from what the detectors saw in its frames: drift, jumps at window edges, and whether what
the prompt left open stays the same."""
import numpy

from scene import KIND_OF_MOTION, MOTIONS
from track import fit_motion

SECOND = 8  # frames
SPAN = 24  # frames at either end, for sizes and paths: more than one normal period
STRIDE = 8  # frames between the windows in which the motion is named
LENGTH = 16
ON_TIME = 0.125  # turns that a phase may be off after one stride
SAME_SIZE = 0.15
SAME_HUE = 10.0  # degrees
DIRECTED = ("clockwise", "counterclockwise", "drift-right", "drift-left")


def window_edges(frames, overlap, length=LENGTH):
    """Frames t such that a static window starts at t or has its last frame at t - 1, inside the video."""
    starts, at = [], 0
    while True:
        starts.append(min(at, frames - length))
        if at + length >= frames:
            break
        at += length - overlap
    edges = {s for s in starts} | {s + length for s in starts}
    return sorted(t for t in edges if 0 < t < frames)


def turned(a, b, full=360.0):
    """Signed difference a - b of angles."""
    return numpy.remainder(a - b + full / 2, full) - full / 2


def middle_hue(sight, part):
    """Circular mean of the hue of the frames in `part` that have one clear subject; None without any."""
    use = numpy.zeros(len(sight.hue), bool)
    use[part] = True
    use &= sight.present
    if not use.any():
        return None
    return float(numpy.degrees(numpy.angle(numpy.exp(1j * numpy.radians(sight.hue[use])).mean())) % 360)


def hue_drift(sight):
    """Degrees between the first and the last second; None where one of them has no clear subject."""
    first, last = (middle_hue(sight, p) for p in (slice(0, SECOND), slice(-SECOND, None)))
    return None if first is None or last is None else abs(float(turned(first, last)))


def jumps(sight, edges):
    """For place, hue and size: the share of window edges whose change exceeds the 99th percentile of the changes
    elsewhere, and both means. Only pairs of frames with one clear subject count."""
    both = sight.present[1:] & sight.present[:-1]
    at_edge = numpy.isin(numpy.arange(1, len(sight.x)), edges)
    changes = {"place": numpy.hypot(turned(sight.x[1:], sight.x[:-1], 256), numpy.diff(sight.y)),
               "hue": numpy.abs(turned(sight.hue[1:], sight.hue[:-1])),
               "size": numpy.abs(numpy.diff(numpy.log(sight.radius)))}
    result = {}
    for name, change in changes.items():
        there, elsewhere = change[both & at_edge], change[both & ~at_edge]
        if len(there) and len(elsewhere) >= 20:
            limit = numpy.percentile(elsewhere, 99)
            result[name] = {"edges": len(there), "beyond": float((there > limit).mean()),
                            "mean_at_edges": float(there.mean()), "mean_elsewhere": float(elsewhere.mean())}
    return result


def motion_steadiness(sight, motion):
    """Of the windows of 16 frames, every 8: the share whose motion is the one asked for (either direction), and
    of neighbours that both are, the share whose phase is where the earlier one's period puts it."""
    kind, right, looks = KIND_OF_MOTION[motion], [], []
    for at in range(0, len(sight.x) - LENGTH + 1, STRIDE):
        part = slice(at, at + LENGTH)
        named, period, phase = fit_motion(sight.track[part], sight.present[part])
        ok = named is not None and KIND_OF_MOTION[named] == kind
        right.append(ok)
        looks.append((named, period, phase) if ok and period else None)
    steady = []
    for a, b in zip(looks, looks[1:]):
        if a and b:
            off = turned(b[2] - a[2], 2 * numpy.pi * STRIDE / a[1], 2 * numpy.pi) / (2 * numpy.pi)
            steady.append(bool(a[0] == b[0] and abs(off) <= ON_TIME))
    return {"motion_right": float(numpy.mean(right)), "phase_steady": float(numpy.mean(steady)) if steady else None}


def direction(sight, part):
    """+1, -1 or 0 (not told) for the direction of turning or drifting in `part`."""
    use = sight.present[part]
    track = sight.track[part][use]
    if len(track) < 6:
        return 0, 0
    x = numpy.cumsum(numpy.concatenate([[0], turned(track[1:, 0], track[:-1, 0], 256)]))
    y = track[:, 1]
    dx, dy = x - x.mean(), y - y.mean()
    area = float((dx[:-1] * dy[1:] - dx[1:] * dy[:-1]).sum() / 2)
    return (int(numpy.sign(area)) if abs(area) > 300 else 0,
            int(numpy.sign(x[-1] - x[0])) if abs(x[-1] - x[0]) > 24 else 0)


def layout_distance(first, last):
    """How different two parts of a video are beside their subjects: mean difference of the medians over time of
    small pictures [T, 3, h, w], where neither part shows its subject in half of its frames."""
    return float(numpy.abs(numpy.median(first, 0) - numpy.median(last, 0)).mean())


def open_attributes(sight, small, motion, same_layout):
    """Which of direction, hue, size and layout are the same at the beginning and the end. `small` [T, 3, h, w] are
    small pictures; layouts that differ by less than `same_layout` are the same."""
    begin, end = slice(0, SPAN), slice(-SPAN, None)
    result = {}
    if MOTIONS[motion] in DIRECTED:
        axis = 0 if KIND_OF_MOTION[motion] == 0 else 1
        a, b = direction(sight, begin)[axis], direction(sight, end)[axis]
        result["direction"] = a != 0 and a == b
    drift = hue_drift(sight)
    result["hue"] = drift is not None and drift < SAME_HUE
    sizes = [sight.radius[p][sight.present[p]] for p in (begin, end)]
    if all(len(s) >= 4 for s in sizes):
        a, b = (numpy.percentile(s, 80) for s in sizes)
        result["size"] = bool(abs(numpy.log(a / b)) < SAME_SIZE)
    else:
        result["size"] = False
    result["layout"] = layout_distance(small[begin], small[end]) < same_layout
    result["all"] = all(result.values())
    return result

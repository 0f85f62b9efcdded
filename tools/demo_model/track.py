"""Names the motion in a subject's track: which motion fits it best, and with what period."""
import numpy

from scene import DRIFT_STRETCH, MOTIONS, PIVOT_Y, PULSE_DEPTH, SWING_ANGLE

PERIODS = numpy.geomspace(9, 44, 40)  # frames
PHASES = numpy.linspace(0, 2 * numpy.pi, 24, endpoint=False)
CAP = 24.0  # pixels; a frame cannot count as further off than this
RADIUS_WEIGHT = 1.5  # a radius is read less sharply than a place
FREEDOM = 4.0  # squared pixels per frame that one more free number must explain
LOST = 15.0  # root mean square distance above which the track has no motion of ours


def _line(values, shape):
    """Least squares of values [T] = a + b shape [..., T]: residuals [..., T] and b [...]."""
    s = shape - shape.mean(-1, keepdims=True)
    b = (s * (values - values.mean())).sum(-1) / ((s * s).sum(-1) + 1e-9)
    return values - values.mean() - b[..., None] * s, b


def _flat(values):
    return values - numpy.median(values)


def _cost(*residuals):
    square = sum(numpy.broadcast_arrays(*[r * r for r in residuals]))
    return numpy.minimum(square, CAP * CAP).mean(-1)


def _best(cost, free, periods=PERIODS, allowed=None):
    if allowed is not None:
        cost = numpy.where(allowed, cost, 1e9)
    at = numpy.unravel_index(cost.argmin(), cost.shape)
    return cost[at] + FREEDOM * free, cost[at], periods[at[0]]


def fit_motions(track):
    """For each motion: (cost with a price for freedom, cost, period) of a track [T, 3] of x, y, radius."""
    x, y, r = track.T.astype(float)
    t = numpy.arange(len(x))
    still = RADIUS_WEIGHT * _flat(r)
    phi = 2 * numpy.pi * t / PERIODS[:, None, None] + PHASES[None, :, None]
    sin, cos = numpy.sin(phi), numpy.cos(phi)
    fits = {}
    for name, turn in (("clockwise", 1), ("counterclockwise", -1)):
        # One amplitude for both axes: their slopes' mean.
        dx, dy = x - x.mean(), y - y.mean()
        cx, cy = cos - cos.mean(-1, keepdims=True), turn * (sin - sin.mean(-1, keepdims=True))
        reach = ((cx * dx).sum(-1) + (cy * dy).sum(-1)) / ((cx * cx).sum(-1) + (cy * cy).sum(-1))
        cost = _cost(dx - reach[..., None] * cx, dy - reach[..., None] * cy, still)
        fits[name] = _best(cost, 3, allowed=reach > 18)
    side = numpy.arcsin(0.97 * sin) / numpy.arcsin(0.97)
    off, reach = _line(x, side)
    fits["left-right"] = _best(_cost(off, _flat(y), still), 3, allowed=reach > 18)
    u = numpy.remainder(phi / (2 * numpy.pi), 1)
    off, reach = _line(y, 1 - 8 * u * (1 - u))
    fits["up-down"] = _best(_cost(_flat(x), off, still), 3, allowed=reach > 18)
    angle = SWING_ANGLE * sin
    reach = ((y - PIVOT_Y) * numpy.cos(angle)).sum(-1) / (numpy.cos(angle) ** 2).sum(-1)
    reach = numpy.clip(reach, 90, 145)[..., None]
    off_x = x - reach * numpy.sin(angle)
    off_x = off_x - numpy.median(off_x, -1, keepdims=True)
    fits["swing"] = _best(_cost(off_x, y - PIVOT_Y - reach * numpy.cos(angle), still), 3)
    size = 1 - PULSE_DEPTH * (0.5 - 0.5 * sin) * 1.6
    scale = (size * r).sum(-1, keepdims=True) / (size * size).sum(-1, keepdims=True)
    fits["pulse"] = _best(_cost(_flat(x), _flat(y), RADIUS_WEIGHT * (r - scale * size)), 2.5)
    for name, turn in (("drift-right", 1), ("drift-left", -1)):
        periods = PERIODS * DRIFT_STRETCH
        along = numpy.exp(2j * numpy.pi * (x / 256 - turn * t / periods[:, None]))
        middle = numpy.angle(along.mean(-1, keepdims=True))
        off = numpy.angle(along * numpy.exp(-1j * middle)) / (2 * numpy.pi) * 256
        fits[name] = _best(_cost(off, _flat(y), still), 2, periods)
    rest = float(_cost(_flat(x), _flat(y), still))
    fits["rest"] = (rest, rest, 0.0)
    return fits


def name_motion(track):
    """(index into MOTIONS or None, period in frames) of a track [T, 3]."""
    fits = fit_motions(track)
    name = min(fits, key=lambda k: fits[k][0])
    if fits[name][1] > LOST * LOST:
        return None, 0.0
    return MOTIONS.index(name), float(fits[name][2])

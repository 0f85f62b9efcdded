"""Names the motion in a subject's track: which motion fits it best, and with what period."""
import numpy

from scene import DRIFT_STRETCH, MOTIONS, PIVOT_Y, PULSE_DEPTH, SWING_ANGLE

PERIODS = numpy.geomspace(9, 44, 40)  # frames
PHASES = numpy.linspace(0, 2 * numpy.pi, 24, endpoint=False)
STARTS = 4  # places from which it goes on
PRIOR = 0.15  # squared pixels per frame for one standard deviation
FINER = 3  # times that the search is made finer around the best period and phase
CAP = 24.0  # pixels; a frame cannot count as further off than this
RADIUS_WEIGHT = 1.5  # a radius is read less sharply than a place
FREEDOM = 4.0  # squared pixels per frame that one more free number must explain
LOST = 15.0  # root mean square distance above which the track has no motion of ours
LEAST_REACH = 18.0  # pixels
DEPTHS = (0.15, 0.75)  # of a pulse: how much of its radius a subject loses
LEAST_FRAMES = 6


def _line(values, shape):
    """Least squares of values [T] = a + b shape [..., T]: residuals [..., T], a and b [...]."""
    middle = shape.mean(-1)
    s = shape - middle[..., None]
    b = (s * (values - values.mean())).sum(-1) / ((s * s).sum(-1) + 1e-9)
    a = values.mean() - b * middle
    return values - a[..., None] - b[..., None] * shape, a, b


def _flat(values):
    return values - numpy.median(values)


def _cost(*residuals, allowed=True):
    square = sum(numpy.broadcast_arrays(*[r * r for r in residuals]))
    return numpy.where(allowed, numpy.minimum(square, CAP * CAP).mean(-1), 1e9)


def _search(cost, free, phases=PHASES, stretch=1.0):
    """(cost with a price for freedom, cost, period, phase) of the best period and phase; cost(period, phase)
    takes and gives grids [P, Q]. `phases` has one entry where the phase is no matter of searching."""
    step, turn = PERIODS[1] / PERIODS[0], 2 * numpy.pi / len(phases)
    coarse = cost(PERIODS[:, None, None] * stretch, phases[None, :, None])
    best, period, phase = numpy.inf, 0.0, 0.0
    for start in _valleys(coarse):
        p, q = PERIODS[start[0]] * stretch, phases[start[1]]
        for k in range(FINER):
            ps = p * (step ** (1 / 3 ** k)) ** numpy.linspace(-1, 1, 7)
            qs = q + turn / 3 ** k * numpy.linspace(-1, 1, 7) * (len(phases) > 1)
            found = cost(ps[:, None, None], qs[None, :, None])
            at = numpy.unravel_index(found.argmin(), found.shape)
            p, q = ps[at[0]], qs[at[1]]
        if found[at] < best:
            best, period, phase = found[at], p, q
    return best + FREEDOM * free, best, period, phase


def _valleys(cost, count=STARTS):
    """Places of the lowest local minima of a grid [P, Q]; phases go round."""
    lowest = cost.copy()
    for dp in (-1, 0, 1):
        shifted = cost if dp == 0 else numpy.roll(cost, dp, 0)
        if dp:
            shifted = shifted.copy()
            shifted[0 if dp == 1 else -1] = numpy.inf
        for dq in (-1, 0, 1):
            lowest = numpy.minimum(lowest, numpy.roll(shifted, dq, 1))
    places = numpy.argwhere(cost <= lowest)
    order = numpy.argsort(cost[tuple(places.T)], kind="stable")
    return [tuple(p) for p in places[order[:count]]]


def _usual(value, middle, spread):
    """A price so small that it only decides where a short piece of a path leaves the period open: how unusual
    the path's size would be."""
    return PRIOR * ((value - middle) / spread) ** 2


def fit_motions(track, frames):
    """For each motion: (cost with a price for freedom, cost, period, phase) of a track [T, 3] of x, y, radius at
    `frames` [T]."""
    x, y, r = track.T.astype(float)
    still = RADIUS_WEIGHT * _flat(r)
    room = 128 - 1.06 * numpy.median(r) - 3  # how far the scenes' subjects go from the middle
    angle = lambda period, phase: 2 * numpy.pi * frames / period + phase

    def circle(turn):
        def cost(period, phase):
            phi = angle(period, phase)
            dx, dy = x - x.mean(), y - y.mean()
            cx, cy = (v - v.mean(-1, keepdims=True) for v in (numpy.cos(phi), turn * numpy.sin(phi)))
            reach = ((cx * dx).sum(-1) + (cy * dy).sum(-1)) / ((cx * cx).sum(-1) + (cy * cy).sum(-1))
            return _cost(dx - reach[..., None] * cx, dy - reach[..., None] * cy, still,
                         allowed=reach > LEAST_REACH)
        return cost

    def sideways(period, phase):
        off, _, reach = _line(x, numpy.arcsin(0.97 * numpy.sin(angle(period, phase))) / numpy.arcsin(0.97))
        return _cost(off, _flat(y), still, allowed=reach > LEAST_REACH) + _usual(reach / room, 0.86, 0.08)

    def bounce(period, phase):
        u = numpy.remainder(angle(period, phase) / (2 * numpy.pi), 1)
        off, _, reach = _line(y, 1 - 8 * u * (1 - u))
        return _cost(_flat(x), off, still, allowed=reach > LEAST_REACH) + _usual(reach / room, 0.72, 0.08)

    def swing(period, phase):
        turn = SWING_ANGLE * numpy.sin(angle(period, phase))
        reach = ((y - PIVOT_Y) * numpy.cos(turn)).sum(-1) / (numpy.cos(turn) ** 2).sum(-1)
        reach = numpy.clip(reach, 90, 145)[..., None]
        off_x = x - reach * numpy.sin(turn)
        off_x = off_x - numpy.median(off_x, -1, keepdims=True)
        return _cost(off_x, y - PIVOT_Y - reach * numpy.cos(turn), still)

    def pulse(period, phase):
        off, a, b = _line(r, numpy.sin(angle(period, phase)))
        depth = 2 * b / numpy.maximum(a + b, 1e-3)  # the radius goes from a + b down to a - b
        return _cost(_flat(x), _flat(y), RADIUS_WEIGHT * off, allowed=(depth > DEPTHS[0]) & (depth < DEPTHS[1])
                     ) + _usual(depth, 1.6 * PULSE_DEPTH, 0.08)

    def drift(turn):
        def cost(period, phase):
            along = numpy.exp(2j * numpy.pi * (x / 256 - turn * frames / period))
            middle = numpy.angle(along.mean(-1, keepdims=True))
            off = numpy.angle(along * numpy.exp(-1j * middle)) / (2 * numpy.pi) * 256
            return _cost(off, _flat(y), still)
        return cost

    one = numpy.zeros(1)
    rest = float(_cost(_flat(x), _flat(y), still))
    return {"clockwise": _search(circle(1), 3), "counterclockwise": _search(circle(-1), 3),
            "left-right": _search(sideways, 3), "up-down": _search(bounce, 3), "swing": _search(swing, 3),
            "pulse": _search(pulse, 3.5), "drift-right": _search(drift(1), 2, one, DRIFT_STRETCH),
            "drift-left": _search(drift(-1), 2, one, DRIFT_STRETCH), "rest": (rest, rest, 0.0, 0.0)}


def fit_motion(track, present=None):
    """(index into MOTIONS or None, period in frames, phase) of a track [T, 3], from the frames `present` [T]. The
    phase of a drift is the part of its way that it has gone at frame 0."""
    frames = numpy.arange(len(track), dtype=float)
    if present is not None:
        track, frames = track[present], frames[present]
    if len(track) < LEAST_FRAMES:
        return None, 0.0, 0.0
    fits = fit_motions(track, frames)
    name = min(fits, key=lambda k: fits[k][0])
    if fits[name][1] > LOST * LOST:
        return None, 0.0, 0.0
    period, phase = fits[name][2:]
    if name.startswith("drift"):
        along = track[:, 0] / 256 * (1 if name == "drift-right" else -1)
        phase = numpy.angle(numpy.exp(2j * numpy.pi * (along - frames / period)).mean())
    return MOTIONS.index(name), float(period), float(phase)


def name_motion(track, present=None):
    """(index into MOTIONS or None, period in frames) of a track [T, 3], from the frames `present` [T]."""
    return fit_motion(track, present)[:2]

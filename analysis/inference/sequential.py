"""Looking at a study after each batch of replicates, without finding more than α where there is nothing.

A test repeated at every look finds too much: ten looks at 5 % find something in 19 of 100 null studies. A spending
function (Lan & DeMets 1983) says how much of α may be used up by the time a share of the planned replicates is in, and
`levels` turns that into the p that each look must reach. The looks need not be planned, nor evenly spaced: a look's
level depends only on it and those before it. O'Brien and Fleming's kind spends next to nothing early, so the last look
is almost as sharp as that of a study without looks (p below 0.042 rather than 0.05 after five), and only a large
difference ends a study soon.

    levels([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05)  # 0.000001 0.0008 0.0074 0.022 0.042

The score at information fraction t (z·√t) is taken as Brownian motion: increments are independent and normal. Where p
is Student's t over few replicates, it is right at each look but forgets faster from look to look, as the spread is
estimated anew: with ten looks at 4, 8, … 40 replicates, 5.2 of 100 null studies cross rather than 5. Later first looks
do not help; `levels(fractions, STUDENT * alpha)` does. A p that also counts the spread between examples that all looks
share changes less from look to look, and errs on the safe side.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from analysis.inference.stats import erfc

# Of alpha to spend where p is Student's t. In simulations with alphas from 0.1 to 0.0001 and two to forty looks, null
# studies cross up to 1.09 times as often as they should with batches of two replicates or more, which this share makes
# good, and up to 1.2 times with batches of one, which it does not.
STUDENT = 0.9
NEAREST = 1e-3  # information between looks: the grid grows as they near each other
NEGLIGIBLE = 1e-100  # probability: a look that may spend less than this spends nothing
_NORMAL = NormalDist()
_HIGHEST = -_NORMAL.inv_cdf(NEGLIGIBLE)  # z that no study reaches
_PANEL = np.polynomial.legendre.leggauss(8)


class _Followed(NamedTuple):
    """The levels of all looks, and null studies that crossed at none: [M] scores at the last look, their [M] mass."""

    levels: tuple[float, ...]
    scores: np.ndarray
    mass: np.ndarray


def spent(fraction: float, alpha: float) -> float:
    """How much of a two-sided `alpha` may be spent up to an information fraction in (0, 1]: all of it at 1.

    α/2 on either side, each by 2 − 2Φ(z/√t) with z the upper α/4 quantile, as published tables have it (Lan & DeMets
    1983 for one side).
    Raises ValueError for a fraction outside (0, 1] or an alpha outside (0, 1).
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"an information fraction must lie in (0, 1]: {fraction}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1: {alpha}")
    return min(alpha, 2 * math.erfc(-_NORMAL.inv_cdf(alpha / 4) / math.sqrt(2 * fraction)))


def levels(fractions: Sequence[float], alpha: float) -> np.ndarray:
    """[L] nominal two-sided levels: the p that each look must not exceed for the study to end with a difference.

    `fractions` [L] are the shares of the planned information at the looks so far, ascending in (0, 1]; the last need
    not be 1. With probability `spent(fractions[-1], alpha)` a null study falls below any of them. A level is 0 where a
    look may spend next to nothing. By recursive numerical integration (Armitage, McPherson & Rowe 1969).
    Raises ValueError for fractions that do not ascend by NEAREST or more, or an alpha outside (0, 1).
    """
    return np.array(_follow(tuple(map(float, fractions)), float(alpha)).levels)


def one_sided_levels(fractions: Sequence[float], alpha: float) -> np.ndarray:
    """[L] nominal one-sided levels, as for each of the two tests of equivalence: half the two-sided ones of 2·alpha.

    Raises ValueError as `levels` does, and for an alpha that is not below ½.
    """
    return levels(fractions, 2 * alpha) / 2


def power(fractions: Sequence[float], alpha: float, drift: float) -> float:
    """How probably a study crosses on either side by its last look, where z is `drift` on average at full information.

    A replicate's difference δ with standard deviation σ drifts by δ/σ·√N over N planned replicates. The power by an
    earlier look is that of the fractions up to it. Student's t has less: with up to forty replicates in batches of four
    and a power of ½ to 0.8, by 2 points at an alpha of 0.05 and by 6 at 0.05/14. Raises ValueError as `levels` does.
    """
    _, scores, mass = _follow(tuple(map(float, fractions)), float(alpha))
    # What a drift makes of the studies still going depends on their last score alone: the ratio of densities there.
    return 1 - float(mass @ np.exp(drift * scores - drift**2 * float(fractions[-1]) / 2))


def conditional_power(z: float, fraction: float, level: float, drift: float | None = None) -> float:
    """How probably a study with `z` at an information fraction below 1 ends at full information with p ≤ `level`.

    `level` is two-sided, that of the last look. The rest of the study is expected to drift as its first part did, or
    by `drift` (as in `power`) if given. Looks in between are left out: with them the chance is a little higher. A study
    that ends for want of conditional power needs no other levels, since giving up finds nothing that is not there.
    Raises ValueError for a fraction outside (0, 1) or a level outside (0, 1).
    """
    opposite = None if drift is None else -drift
    sides = ((z, drift), (-z, opposite))
    return sum(one_sided_conditional_power(side, fraction, level / 2, trend) for side, trend in sides)


def one_sided_conditional_power(z: float, fraction: float, level: float, drift: float | None = None) -> float:
    """`conditional_power` of a one-sided test of positive differences: `level` is one-sided, `z` and `drift` signed."""
    if not (0 < fraction < 1 and 0 < level < 1):
        raise ValueError(f"fraction and level must lie between 0 and 1: {fraction} and {level}")
    trend = z / math.sqrt(fraction) if drift is None else drift
    missing = -_NORMAL.inv_cdf(level) - z * math.sqrt(fraction) - trend * (1 - fraction)
    return math.erfc(missing / math.sqrt(2 * (1 - fraction))) / 2


@functools.cache
def _follow(fractions: tuple[float, ...], alpha: float) -> _Followed:
    """Follow null studies from look to look: set each look's bound, and keep the scores of those inside it."""
    total = [spent(fraction, alpha) for fraction in fractions]
    gaps = np.diff([0.0, *fractions])
    if not fractions or (gaps[1:] < NEAREST * (1 - 1e-9)).any():
        raise ValueError(f"fractions must ascend in (0, 1], by {NEAREST} or more: {', '.join(map(str, fractions))}")
    sds = np.sqrt(gaps)
    scores, mass, reached = np.zeros(1), np.ones(1), []
    for fraction, spend, sd, next_sd in zip(fractions, np.diff([0.0, *total]), sds, [*sds[1:], math.inf], strict=True):
        bound = _bound(scores, mass, sd, float(spend), fraction)
        reached.append(math.erfc(bound / math.sqrt(2 * fraction)))
        inside, widths = _grid(min(bound, _HIGHEST * math.sqrt(fraction)), min(sd, next_sd))
        mass = widths * (_density((inside[:, None] - scores) / sd) / sd @ mass)
        scores = inside
    return _Followed(tuple(reached), scores, mass)


def _bound(scores: np.ndarray, mass: np.ndarray, sd: float, spend: float, fraction: float) -> float:
    """The |score| that studies at [M] `scores` exceed after one more increment with probability `spend` in all.

    By Newton's method on the logarithm of that probability, which is concave in the bound because the density is
    log-concave. The start is too high, so that no step goes too far: as if no study had crossed before, or, where that
    is lower, as if all were as far out as the farthest.
    """
    if spend < NEGLIGIBLE:
        return math.inf
    z = -_NORMAL.inv_cdf(spend / 2)
    bound, step = min(z * math.sqrt(fraction), float(scores[-1]) + z * sd), math.inf
    while step > 1e-12 * bound:
        away = (bound - scores) / sd
        crossing = float(mass @ erfc(away / math.sqrt(2)))  # two sides of half of it
        slope = 2 * float(mass @ _density(away)) / sd
        step = math.log(spend / crossing) * crossing / slope
        bound -= step
    return bound


def _grid(half: float, widest: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights to integrate over ±`half`: Gauss and Legendre's on panels no wider than `widest`."""
    panels = max(1, math.ceil(2 * half / widest))
    nodes, weights = _PANEL
    starts = (2 * np.arange(panels) + 1 - panels)[:, None]
    return ((starts + nodes) * half / panels).ravel(), np.tile(weights * half / panels, panels)


def _density(z: np.ndarray) -> np.ndarray:
    """The standard normal's, and 1e-196 from 30 on: denormal numbers are slow to compute with."""
    return np.exp(-0.5 * np.minimum(np.abs(z), 30) ** 2) / math.sqrt(2 * math.pi)

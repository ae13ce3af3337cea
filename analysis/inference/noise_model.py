"""P(label is wrong | m) = ε + (1 − 2ε)·σ(−|m|/T): its likelihood, and intervals of what it has, by profile likelihood.

ε turns labels round whatever the pair's gold margin m. T is Bradley–Terry's: labels of pairs with a small |m| are wrong
most often. One formula serves three kinds of evidence. The log-odds of an unturned vote of a pair are

    m/T = (r·x + √(1 − r²)·z) / t,   z ~ N(0, 1)

x: a known margin of the pair, in units of its root mean square. t: T in the root mean square of the gold margins.

- x is the gold margin: r = 1.
- x is a model's margin: r is free, its correlation with the gold margin. Votes that differ within a pair tell noise of
  annotators, which each of them draws anew, from errors of the model, which all of them face alike.
- votes alone: r = 0. Four votes a pair are needed, and that log-odds are normal over pairs is taken for granted.

The likelihood is tabled over (ε, t, r), on a grid that is narrowed to where it is high. It needs no start and no step
size, and misses no second maximum that a grid shows. An interval holds the values whose profile is within 2.11 of the
highest; of votes within 2.35, of votes and a model's margins within 3.94 (`_RISE`). At a boundary (ε = 0, T = 0) that
is one-sided, and holds the truth more often than 95 times in 100 (Self & Liang 1987).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from functools import cached_property
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from benchmarks.metrics import sigmoid

Knows = Literal["gold", "model", "votes"]
POINTS = {"gold": 25, "votes": 25, "model": 13}  # of an axis
CELLS = {"gold": 200, "votes": 1, "model": 32}  # of margins of about one size, at most
_CUTS = (40.0, 12.0, 5.0)  # below the highest log-likelihood: what the grid is narrowed to
# How far the profile falls to an interval's ends. The likelihood is not quite a parabola, least where there are no gold
# margins: a fall of 1.92, which should hold the truth in 95 of 100 studies, does so in 92 of some (`noise_coverage`). A
# model's margins beside votes mislead where gold margins are not normal, which intervals allow for.
_RISE = {
    knows: NormalDist().inv_cdf((1 + level) / 2) ** 2 / 2
    for knows, level in (("gold", 0.96), ("votes", 0.97), ("model", 0.995))
}
_LEAST = 1e-6  # t below it is 0
_NEVER = 1e-300  # a probability below it is 0
_QUANTILES = (np.arange(24) + 0.5) / 24  # that a distribution is stood for by, alike in weight
_NODES = np.array([NormalDist().inv_cdf(q) for q in _QUANTILES])
_NODES /= _NODES.std()
_STEEP = 1.7  # sd of log-odds beyond a margin's, from which votes are summed up the other way: a logistic variable's
_GRID = np.linspace(-9, 9, 4001)
_CDF = np.array([NormalDist().cdf(x) for x in _GRID])


class Estimate(NamedTuple):
    """A value with its 95 % interval. value is NaN where only the bounds are known."""

    value: float
    lo: float
    hi: float


class Votes(NamedTuple):
    """Labels of N pairs. margins: [N] of the chosen over the rejected side, 0 where none is known. chosen: [N] votes
    for the chosen side, of `number` each; a plain label is one vote of one.
    """

    margins: np.ndarray
    chosen: np.ndarray
    number: int = 1


class Fit:
    """The likelihood of some labels, tabled. knows: what their margins are. flips, t: held fixed where they are told.

    log_likelihood: its highest. unit: the margins' root mean square. Raises ValueError without pairs.
    """

    def __init__(self, labels: Votes, knows: Knows, flips: float | None = None, t: float | None = None):
        if not len(labels.margins):
            raise ValueError("there are no labels to fit")
        self.knows, self.number = knows, labels.number
        self.unit = math.sqrt(float(np.mean(np.square(labels.margins)))) or 1.0
        self._x, self._counts = _cells(labels._replace(margins=labels.margins / self.unit), CELLS[knows])
        correlation = {"gold": (1.0, 1.0), "votes": (0.0, 0.0), "model": (0.0, 1.0)}[knows]
        within = 0.0 if t is None else t / (1 + t)
        bounds = [(flips or 0.0, 0.5 if flips is None else flips), (within, 1.0 if t is None else within), correlation]
        self.axes, self.table = self._narrowed(bounds)
        self.log_likelihood = float(_reduced(self.table, ()))

    def _narrowed(self, bounds: Sequence[tuple[float, float]]) -> tuple[list[np.ndarray], np.ndarray]:
        """Axes of (ε, t / (1 + t), r) around where the likelihood is high, and its table over them."""
        ranges = list(bounds)
        for cut in (*_CUTS, None):
            axes = [np.linspace(lo, hi, POINTS[self.knows] if hi > lo else 1) for lo, hi in ranges]
            table = self._log_likelihood(*axes)
            if cut is None:
                break
            high = table >= table.max() - cut
            for k, axis in enumerate(axes):
                at = np.flatnonzero(high.any(axis=tuple(j for j in range(3) if j != k)))
                ranges[k] = (axis[max(at[0] - 1, 0)], axis[min(at[-1] + 1, len(axis) - 1)])
        return axes, table

    def _log_likelihood(self, flips: np.ndarray, within: np.ndarray, known: np.ndarray) -> np.ndarray:
        """[E, U, R] of ε [E], t / (1 + t) [U] and r [R]."""
        slopes = (1 - within) / np.maximum(within, _LEAST)
        steepness, r = (axis.ravel() for axis in np.meshgrid(slopes, known, indexing="ij"))
        unturned = outcomes(self._x, steepness, r, self.number)  # [U·R, C, K + 1]
        total = np.empty((len(flips), len(steepness)))
        for row, rate in enumerate(flips):
            shares = np.maximum(unturned @ turning(rate, self.number), _NEVER)
            total[row] = np.einsum("gck,ck->g", np.log(shares), self._counts)
        return total.reshape(len(flips), len(within), len(known))

    @cached_property
    def flips(self) -> Estimate:
        """ε, a share of labels."""
        return self._estimate(0)

    @cached_property
    def t(self) -> Estimate:
        """T in the root mean square of the gold margins."""
        return Estimate(*(_unbounded(value) for value in self._estimate(1)))

    @cached_property
    def r(self) -> Estimate:
        """Correlation of the known margins with the gold margins."""
        return self._estimate(2)

    def _estimate(self, k: int) -> Estimate:
        """Of axis `k`, from the profile over the others."""
        axis, profile, rise = self.axes[k], _reduced(self.table, (k,)), _RISE[self.knows]
        at = int(profile.argmax())
        roots = np.sqrt(np.maximum(self.log_likelihood - profile, 0.0))
        inside = np.flatnonzero(roots**2 <= rise)
        if not len(inside):  # the highest lies between two points
            inside = np.array([at])
        lo, hi = (_crossing(axis, roots, int(inside[end]), step, math.sqrt(rise)) for end, step in ((0, -1), (-1, 1)))
        return Estimate(float(np.clip(_vertex(axis, profile, at), lo, hi)), lo, hi)


def p_of_none(whole: Fit, without: Fit) -> float:
    """p of the hypothesis that a component of `whole` is not there, `without` being the fit that lacks it.

    The boundary halves it: twice the difference of log-likelihoods is 0 half the time, else χ² with one degree, in the
    measure that intervals have.
    """
    rise = max(0.0, whole.log_likelihood - without.log_likelihood) * _RISE["gold"] / _RISE[whole.knows]
    return math.erfc(math.sqrt(rise)) / 2 if rise else 1.0


def wrong_by_margin(margins: np.ndarray | None, t: float) -> float:
    """The share of unturned labels that are wrong, mean of σ(−|m|/T). margins: gold, in their root mean square; None:
    normal ones. t: T in that unit; infinite for coins.
    """
    if t <= _LEAST or math.isinf(t):
        return 0.0 if t <= _LEAST else 0.5
    return float(sigmoid(-np.abs(_NODES if margins is None else margins) / t).mean())


def wrong_at(x: np.ndarray, flips: float, t: float, r: float) -> np.ndarray:
    """[N] the share of votes that differ from the sign of known margins x [N], in their root mean square."""
    unturned = outcomes(np.abs(x), np.array([1 / max(t, _LEAST)]), np.array([r]), 1)[0, :, 0]
    return flips + (1 - 2 * flips) * unturned


def outcomes(x: np.ndarray, slopes: np.ndarray, r: np.ndarray, number: int) -> np.ndarray:
    """[G, C, number + 1] P(k of the votes are for the side with the higher margin), none turned round.

    x: [C] known margins. slopes, r: [G] 1 / t and r. A vote is for that side where a logistic variable lies below the
    pair's log-odds, so that k of them are where the k-th smallest lies below and the next does not. Votes are averaged
    over z where log-odds vary little, else over these variables, z being left to the normal distribution: an average
    over points of a step would jump as it passes them.
    """
    aside = np.sqrt(np.maximum(0.0, 1 - r**2))
    steep = slopes * aside > _STEEP
    found = np.empty((len(slopes), len(x), number + 1))
    if steep.any():
        found[steep] = _by_thresholds(x, slopes[steep], r[steep], aside[steep], number)
    if not steep.all():
        found[~steep] = _by_odds(x, slopes[~steep], r[~steep], aside[~steep], number)
    return found


def _by_odds(x: np.ndarray, slopes: np.ndarray, r: np.ndarray, aside: np.ndarray, number: int) -> np.ndarray:
    z = _NODES if aside.any() else np.zeros(1)
    odds = slopes[:, None, None] * (r[:, None, None] * x[:, None] + aside[:, None, None] * z)
    right = 0.5 + 0.5 * np.tanh(odds / 2)  # σ
    ways = [math.comb(number, k) * (right**k * (1 - right) ** (number - k)).mean(axis=-1) for k in range(number + 1)]
    return np.stack(ways, axis=-1)


def _by_thresholds(x: np.ndarray, slopes: np.ndarray, r: np.ndarray, aside: np.ndarray, number: int) -> np.ndarray:
    below = np.ones((len(slopes), len(x), number + 2))  # that the k-th smallest lies below
    below[..., -1] = 0.0
    for k in range(1, number + 1):
        at = r[:, None, None] * x[:, None] - _thresholds(k, number) / slopes[:, None, None]
        below[..., k] = np.interp(at / aside[:, None, None], _GRID, _CDF).mean(axis=-1)
    return below[..., :-1] - below[..., 1:]


@functools.cache
def _thresholds(k: int, number: int) -> np.ndarray:
    """Quantiles of the k-th smallest of so many logistic variables; bisected."""
    lo, hi = np.full(len(_QUANTILES), -60.0), np.full(len(_QUANTILES), 60.0)
    for _ in range(60):
        middle = (lo + hi) / 2
        share = sigmoid(middle)
        below = sum(math.comb(number, j) * share**j * (1 - share) ** (number - j) for j in range(k, number + 1))
        lo, hi = np.where(below < _QUANTILES, middle, lo), np.where(below < _QUANTILES, hi, middle)
    return lo


def turning(flips: float, number: int) -> np.ndarray:
    """[number + 1, number + 1] P(b votes for a side | a, before each vote was turned round at the rate `flips`)."""

    def ways(before: int, after: int) -> float:
        kept = range(max(0, before + after - number), min(before, after) + 1)  # of those that were for it
        return sum(
            math.comb(before, k)
            * math.comb(number - before, after - k)
            * (1 - flips) ** (k + number - before - after + k)
            * flips ** (before + after - 2 * k)
            for k in kept
        )

    return np.array([[ways(before, after) for after in range(number + 1)] for before in range(number + 1)])


def _cells(labels: Votes, most: int) -> tuple[np.ndarray, np.ndarray]:
    """[C] sizes of margins, neighbours taken together, and [C, number + 1] pairs by votes for the higher side."""
    ahead = np.where(labels.margins < 0, labels.number - labels.chosen, labels.chosen)
    size = np.abs(labels.margins)
    parts = np.array_split(np.argsort(size, kind="stable"), min(most, len(size)))
    counts = [np.bincount(ahead[rows], minlength=labels.number + 1) for rows in parts]
    return np.array([size[rows].mean() for rows in parts]), np.array(counts, dtype=float)


def _reduced(table: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """The largest of `table` over all axes but `kept`."""
    for axis in reversed(range(table.ndim)):
        if axis not in kept:
            table = _peak(table, axis)
    return table


def _peak(table: np.ndarray, axis: int) -> np.ndarray:
    """The largest along an axis, between its points too: of the parabola through the largest and its neighbours."""
    values = np.moveaxis(table, axis, -1)
    highest = values.max(axis=-1)
    if values.shape[-1] < 3:
        return highest
    at = np.clip(values.argmax(axis=-1), 1, values.shape[-1] - 2)[..., None]
    before, here, after = (np.take_along_axis(values, at + step, axis=-1)[..., 0] for step in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        bend, slope = before - 2 * here + after, (after - before) / 2
        top = here - slope**2 / (2 * bend)
        use = (bend < 0) & (np.abs(slope) <= np.abs(bend)) & np.isfinite(top)
    return np.where(use, np.maximum(top, highest), highest)


def _vertex(axis: np.ndarray, profile: np.ndarray, at: int) -> float:
    """Where the parabola through the highest point and its neighbours is highest."""
    if not 0 < at < len(axis) - 1 or not np.isfinite(profile[at - 1 : at + 2]).all():
        return float(axis[at])
    before, here, after = profile[at - 1 : at + 2]
    bend = before - 2 * here + after
    return float(axis[at] - (axis[1] - axis[0]) * (after - before) / (2 * bend) if bend < 0 else axis[at])


def _crossing(axis: np.ndarray, roots: np.ndarray, inside: int, step: int, end: float) -> float:
    """Where the root of the profile's fall, about linear in the axis, passes that of an interval's end."""
    outside = inside + step
    if not 0 <= outside < len(axis):
        return float(axis[inside])
    if not np.isfinite(roots[outside]) or roots[outside] <= roots[inside]:
        return float(axis[outside])
    part = (end - roots[inside]) / (roots[outside] - roots[inside])
    return float(axis[inside] + np.clip(part, 0, 1) * (axis[outside] - axis[inside]))


def _unbounded(within: float) -> float:
    return within / (1 - within) if within < 1 else math.inf

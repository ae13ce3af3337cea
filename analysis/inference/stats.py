"""How sure we are: intervals over seeds, paired differences over seeds × examples, families of tests, power.

A reward model's test accuracy varies with the seed it was trained on and with the examples it is tested on. Arms share
both, so a difference is a table of seeds × examples with a part that belongs to the seed, one to the example and a
rest: two crossed random factors. `paired_difference` estimates the three from mean squares and carries what a few seeds
leave uncertain into interval and p. That, and not the bootstrap, decides: where most of the spread is between seeds, a
percentile bootstrap over five of them holds the truth in 86 to 88 of 100 studies (`python -m
benchmarks.speed coverage`). Its interval is reported beside the other. Where each seed has test examples of its own,
examples are nested in seeds instead, and `nested_difference` takes one number a seed.

No SciPy. Every function is deterministic: those that resample take a seed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.metrics import LEVEL, percentiles, resample_counts

ALPHA = 1 - LEVEL
POWER = 0.8
FEWEST = 8  # examples: below them null studies find too much
FEWEST_POINTS = 4  # of a correlation: any order of three is a strong one
RESAMPLES = 2000
_NORMAL = NormalDist()


class Interval(NamedTuple):
    """An estimate with its 95 % interval; end points are NaN where one value leaves nothing to estimate spread from."""

    mean: float
    lo: float
    hi: float


class Spread(NamedTuple):
    """Mean squares of a table [S seeds, E examples]: between seeds, between examples, and of the rest."""

    seeds: int
    examples: int
    between_seeds: float
    between_examples: float
    rest: float

    @property
    def se(self) -> float:
        """Standard error of the table's mean, for new seeds and new examples, as estimated."""
        total = max(self.between_seeds + self.between_examples - self.rest, self.rest)
        return math.sqrt(total / (self.seeds * self.examples))


class Difference(NamedTuple):
    """arm − reference with its 95 % interval and two-sided p.

    Both are missing where there is no spread to judge it by: with a single seed, fewer than FEWEST examples, or arms
    that differ nowhere or by the same everywhere.
    """

    difference: float
    lo: float = math.nan
    hi: float = math.nan
    p: float = math.nan
    spread: Spread | None = None


def t_central(t: float, df: int) -> float:
    """P(|T| < t) for Student's t with whole `df` ≥ 1 (Abramowitz & Stegun 26.7.3 and 26.7.4, finite sums)."""
    theta = math.atan(t / math.sqrt(df))
    cos2 = math.cos(theta) ** 2
    odd = df % 2
    term = math.cos(theta) if odd else 1.0
    total = term if df > 1 else 0.0
    for k in range(2 + odd, df - 1, 2):
        term *= cos2 * (k - 1) / k
        total += term
    return 2 / math.pi * (theta + math.sin(theta) * total) if odd else math.sin(theta) * total


@functools.cache
def t_quantile(level: float, df: int) -> float:
    """The t with P(|T| < t) = level."""
    return _solve(lambda t: t_central(t, df), level)


def _solve(rising: Callable[[float], float], value: float) -> float:
    """The x ≥ 0 with rising(x) = value, by bisection."""
    low, high = 0.0, 1.0
    while rising(high) < value:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return middle


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of `values` [S], one per seed, with its 95 % t interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    half = t_quantile(LEVEL, len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def paired_difference(arm: np.ndarray, reference: np.ndarray) -> Difference:
    """Mean of arm − reference, both [S seeds, E examples] in the same order, for new seeds and new examples.

    A cell is one example's correctness. With two or three seeds the interval is wide, as it should be.
    """
    if arm.shape != reference.shape:
        raise ValueError(f"arms must share seeds and examples: {arm.shape} against {reference.shape}")
    cells = arm - reference
    mean = float(cells.mean())
    if cells.shape[0] < 2 or cells.shape[1] < FEWEST:
        return Difference(mean)
    spread = _spread(cells)
    if spread.se == 0:  # the arms do the same, or differ by the same everywhere: there is nothing to judge that by
        return Difference(mean)
    half = half_width(spread)
    return Difference(mean, mean - half, mean + half, p_value(mean, spread), spread)


def nested_difference(differences: Sequence[np.ndarray]) -> Difference:
    """Mean of arm − reference where every seed has examples of its own: [E_s] differences of each of S seeds.

    Examples are nested in seeds, so a seed is one draw of a model *and* of what it is judged on, and its mean is the
    one number that is independent of the others'. The seeds' means weigh alike; interval and p are Student's t over
    them, for new seeds with new examples (the p of `p_value`, which is that t test where nothing but seeds varies).
    What examples vary by is in the spread between seeds already, and is not counted twice.
    """
    by_seed = np.array([float(np.mean(own)) for own in differences])
    mean = float(by_seed.mean())
    if len(by_seed) < 2 or min(map(len, differences)) < FEWEST:
        return Difference(mean)
    spread = _spread(by_seed[:, None])
    if spread.se == 0:
        return Difference(mean)
    half = half_width(spread)
    return Difference(mean, mean - half, mean + half, p_value(mean, spread), spread)


def _spread(cells: np.ndarray) -> Spread:
    """Of [S, 1] cells, one a seed, all of it is between seeds."""
    seeds, examples = cells.shape
    by_seed, by_example = cells.mean(axis=1), cells.mean(axis=0)
    rest = cells - by_seed[:, None] - by_example + cells.mean()
    squares = (
        examples * by_seed.var(ddof=1),
        seeds * by_example.var(ddof=1) if examples > 1 else 0.0,
        np.sum(rest**2) / ((seeds - 1) * max(1, examples - 1)),
    )
    rounding = 1e-24 * max(1.0, float(np.abs(cells).max())) ** 2
    return Spread(seeds, examples, *(float(square) if square > rounding else 0.0 for square in squares))


def p_value(mean: float, spread: Spread) -> float:
    """Two-sided p of no difference: P(|Z|·se > |mean|), averaged over what se may be.

    The mean square between a few seeds says little, so it is not plugged in: in its generalised pivot
    (Weerahandi 1993; Hannig, Iyer & Patterson 2006) it is divided by χ²/df with S − 1 degrees of freedom. The other two
    rest on hundreds of examples and stand as they are. Satterthwaite's t, which plugs in, is right at 95 % and too
    sure of itself in the tails that a family of tests needs.
    """
    se, weights = _possible(spread)
    return float(weights @ _two_tails(abs(mean), se))


def _possible(spread: Spread) -> tuple[np.ndarray, np.ndarray]:
    """What the standard error may be, and how probably."""
    shares, weights = _scaled_chi2(spread.seeds - 1)
    total = spread.between_seeds / shares + spread.between_examples - spread.rest
    return np.sqrt(np.maximum(total, spread.rest) / (spread.seeds * spread.examples)), weights


@functools.cache
def _scaled_chi2(df: int, nodes: int = 129) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of χ²/df, on a grid even in its logarithm."""
    log_share = np.linspace(-60 / df - 3, math.log(1 + 12 / math.sqrt(df) + 60 / df), nodes)
    log_density = df / 2 * (log_share - np.exp(log_share))
    weights = np.exp(log_density - log_density.max())
    return np.exp(log_share), weights / weights.sum()


def _two_tails(distance: float, se: np.ndarray) -> np.ndarray:
    """P(|Z|·se > distance), and of what does not vary at all: 1 at no distance, else 0."""
    if distance == 0:
        return np.ones_like(se)
    return np.array([math.erfc(distance / (x * math.sqrt(2))) if x > 0 else 0.0 for x in se])


def half_width(spread: Spread, level: float = ALPHA) -> float:
    """How far from the mean `p_value` falls to `level`: by Newton's method, from where it is too near.

    p is convex in the distance, so that no step goes too far.
    """
    se, weights = _possible(spread)
    distance, step = _NORMAL.inv_cdf(1 - level / 2) * float(se.min()), math.inf
    while step > 1e-12 * distance:
        slope = 2 * weights @ (np.exp(-0.5 * (distance / se) ** 2) / se) / math.sqrt(2 * math.pi)
        step = float((weights @ _two_tails(distance, se) - level) / slope)
        distance += step
    return distance


def detectable(spread: Spread | None, level: float = ALPHA) -> float:
    """The true difference that would be found at `level` with 80 % power, with as many seeds and examples; NaN if None.

    Found is an estimate, normal about the truth, farther from 0 than `half_width`, which itself varies with the mean
    square between seeds that a study happens to see.
    """
    if spread is None:
        return math.nan
    shares, weights = _scaled_chi2(spread.seeds - 1)
    seen = np.interp((np.arange(9) + 0.5) / 9, np.cumsum(weights), shares)  # nine equally likely ones
    widths = [half_width(spread._replace(between_seeds=spread.between_seeds * share), level) for share in seen]
    se = spread.se
    return se * _solve(lambda shift: float(np.mean([_NORMAL.cdf(shift - width / se) for width in widths])), POWER)


def bootstrap_intervals(differences: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """[C, 2] the percentile bootstrap's 95 % intervals of C paired differences [C, S seeds, E examples].

    Each resample draws S seeds and, independently, E examples, the same ones for all C. With few seeds the seed part
    of the spread is too small by (S − 1)/S, as in any bootstrap. NaN with a single seed.
    """
    comparisons, seeds, examples = differences.shape
    if seeds < 2:
        return np.full((comparisons, 2), math.nan)
    rng = np.random.default_rng(seed)
    seed_counts = np.concatenate(list(resample_counts(seeds, resamples, rng)))
    flat = differences.reshape(-1, examples).T
    by_seed = np.concatenate([counts @ flat for counts in resample_counts(examples, resamples, rng)])
    draws = np.einsum("rcs,rs->cr", by_seed.reshape(resamples, comparisons, seeds), seed_counts) / (seeds * examples)
    return np.array([percentiles(drawn) for drawn in draws])


def mcnemar(arm: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """[S] exact two-sided McNemar p of each seed's pair of models, both [S, E] of correctness.

    Of the examples on which one is more right than the other: as many on either side as a fair coin would give?
    It judges the two models of a seed and says nothing of other seeds.
    """
    sign = np.sign(arm - reference)
    return np.array([_fair_coin(int((row > 0).sum()), int((row < 0).sum())) for row in sign])


def _fair_coin(heads: int, tails: int) -> float:
    """Two-sided exact binomial p of so many heads and tails."""
    tosses, fewer = heads + tails, min(heads, tails)
    steps = np.log(np.arange(tosses, tosses - fewer, -1)) - np.log(np.arange(1, fewer + 1))
    tail = np.logaddexp.reduce(np.concatenate([[0.0], np.cumsum(steps)]))
    return min(1.0, 2 * math.exp(tail - tosses * math.log(2)))


def combined_p(p: np.ndarray) -> float:
    """One p from several that may depend on each other in any way: twice their median, or less for a few.

    Rüger (1978): K/k times the k-th smallest of K, here with k = ⌈K/2⌉. The seeds' McNemar tests share the examples, so
    neither their product nor their pooled counts would do.
    """
    k = -(-len(p) // 2)
    return min(1.0, float(np.sort(p)[k - 1]) * len(p) / k) if len(p) else math.nan


def holm(p: np.ndarray) -> np.ndarray:
    """[M] p adjusted for their number (Holm 1979): those below α are false with probability α at most, all together.

    NaN stays NaN and does not count.
    """
    adjusted = np.full(len(p), math.nan)
    order = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    least = 0.0
    for place, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - place) * p[i]))
        adjusted[i] = least
    return adjusted


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's ρ of two [M], ties at their mean rank; NaN below FEWEST_POINTS or where one of them does not vary."""
    if len(x) < FEWEST_POINTS:
        return math.nan
    ranks = [pd.Series(values).rank().to_numpy() for values in (x, y)]
    centred = [rank - rank.mean() for rank in ranks]
    norm = math.sqrt(float(np.prod([rank @ rank for rank in centred])))
    return float(centred[0] @ centred[1]) / norm if norm > 0 else math.nan


def probability_of_improvement(arm: Sequence[np.ndarray], reference: Sequence[np.ndarray], seed: int = 0) -> Interval:
    """How probably a run of the arm scores higher than one of the reference on a task, a tie counting ½, mean over
    tasks (Agarwal et al. 2021, arXiv 2108.13264); each array is one task's scores over seeds.

    The 95 % interval is from resampling seeds within tasks: too narrow for few seeds, as that bootstrap is. ½ is no
    improvement; seeds are not paired.
    """
    if len(arm) != len(reference):
        raise ValueError(f"arms must share tasks: {len(arm)} against {len(reference)}")

    def wins(draws: list[np.ndarray]) -> np.ndarray:
        ours, theirs = draws[: len(arm)], draws[len(arm) :]
        by_task = [
            (np.sign(a[:, :, None] - b[:, None, :]) + 1).mean(axis=(1, 2)) / 2
            for a, b in zip(ours, theirs, strict=True)
        ]
        return np.mean(by_task, axis=0)

    return _stratified(wins, [*arm, *reference], seed)


def _stratified(
    statistic: Callable[[list[np.ndarray]], np.ndarray], scores: Sequence[np.ndarray], seed: int
) -> Interval:
    """`statistic` of [1 or RESAMPLES, S] draws of each array, with its percentile interval; none for single seeds."""
    observed = float(statistic([np.asarray(s, float)[None] for s in scores])[0])
    if any(len(s) < 2 for s in scores):
        return Interval(observed, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    draws = [np.asarray(s, float)[rng.integers(0, len(s), (RESAMPLES, len(s)))] for s in scores]
    return Interval(observed, *percentiles(statistic(draws)))

"""Intervals over replicates, the bootstrap, exact tests, families of tests, rank correlations.

Differences between arms are judged in `analysis.inference.difference`. That, and not the bootstrap, decides: where most
of the spread is between replicates, a percentile bootstrap over five of them holds the truth in 86 to 88 of 100 studies
(`python -m benchmarks.speed coverage`). Its interval is reported beside the other.

No SciPy. Every function is deterministic: those that resample take a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.metrics import LEVEL, percentiles, percentiles_of_each, resample_counts, t_quantile

ALPHA = 1 - LEVEL
POWER = 0.8
FEWEST = 8  # examples: below them null studies find too much
FEWEST_POINTS = 4  # of a correlation: any order of three is a strong one
RESAMPLES = 2000


class Interval(NamedTuple):
    """An estimate with its 95 % interval; end points are NaN where one value leaves nothing to estimate spread from."""

    mean: float
    lo: float
    hi: float


def erfc(values: np.ndarray) -> np.ndarray:
    """`math.erfc` of each of [M]; NumPy has none, and no array's Python numbers are made faster."""
    return np.fromiter(map(math.erfc, values.tolist()), float, len(values))


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of `values` [S], one per seed, with its 95 % t interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    half = t_quantile(LEVEL, len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


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
    return percentiles_of_each(draws)


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


def upper_share(k: float, n: int, level: float) -> float:
    """The largest share under which k or fewer of n have a probability of at least `level` (Clopper & Pearson 1934)."""
    counts = np.arange(math.ceil(k) + 1)
    chosen = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in counts])
    lo, hi = k / n, 1.0
    for _ in range(50):
        share = (lo + hi) / 2
        tail = math.exp(np.logaddexp.reduce(chosen + counts * math.log(share) + (n - counts) * math.log1p(-share)))
        lo, hi = (share, hi) if tail >= level else (lo, share)
    return hi


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
    """Spearman's ρ of two [M], ties at their mean rank.

    NaN below FEWEST_POINTS, where one of them does not vary and where one has a NaN.
    """
    if len(x) < FEWEST_POINTS or np.isnan(x).any() or np.isnan(y).any():
        return math.nan
    centred = [rank - rank.mean() for rank in map(_ranks, (x, y))]
    norm = math.sqrt(float(np.prod([rank @ rank for rank in centred])))
    return float(centred[0] @ centred[1]) / norm if norm > 0 else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    """[M] from 1, those that are equal at their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def probability_of_improvement(arm: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> Interval:
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

    return _stratified(wins, [*arm, *reference])


def _stratified(statistic: Callable[[list[np.ndarray]], np.ndarray], scores: Sequence[np.ndarray]) -> Interval:
    """`statistic` of [1 or RESAMPLES, S] draws of each array, with its percentile interval; none for single seeds."""
    observed = float(statistic([np.asarray(s, float)[None] for s in scores])[0])
    if any(len(s) < 2 for s in scores):
        return Interval(observed, math.nan, math.nan)
    rng = np.random.default_rng(0)
    draws = [np.asarray(s, float)[rng.integers(0, len(s), (RESAMPLES, len(s)))] for s in scores]
    return Interval(observed, *percentiles(statistic(draws)))

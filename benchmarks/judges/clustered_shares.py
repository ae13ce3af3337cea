"""Shares with intervals, where values come in clusters: several of one prompt, several of one replicate.

A value belongs to a prompt and to a replicate, two crossed random factors, and a claim is about new ones of both. The
variance of the mean is that of the prompts' sums and that of the replicates' sums, less what both count (Cameron,
Gelbach & Miller 2011), so prompts may lack in some replicates. With one replicate it is the prompts' alone, and the
claim is about new prompts for these two policies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.metrics import LEVEL, t_central, t_quantile, wilson

_MOST_DF = 1000  # beyond, Student's t is the normal distribution


class Clusters(NamedTuple):
    """[U] prompt and [U] replicate of each value, as numbers."""

    prompt: np.ndarray
    replicate: np.ndarray

    def of(self, chosen: np.ndarray) -> Clusters:
        """Those of some of the values."""
        return Clusters(self.prompt[chosen], self.replicate[chosen])


@dataclass(frozen=True)
class Share:
    """An estimate with its 95 % interval and the values it rests on; ends are NaN where there is no spread."""

    value: float
    lo: float = math.nan
    hi: float = math.nan
    n: int = 0


class Mean(NamedTuple):
    """A mean with its variance for new prompts and new replicates, and the variance's degrees of freedom."""

    value: float
    variance: float
    df: int


def clustered_mean(values: np.ndarray, clusters: Clusters) -> Mean:
    """Mean of `values` [U]. Its variance is NaN with a single prompt in a single replicate."""
    mean = float(values.mean())
    centred = values - mean
    of_prompts, prompts = _variance(centred, clusters.prompt)
    of_replicates, replicates = _variance(centred, clusters.replicate)
    if replicates < 2:
        return Mean(mean, of_prompts, min(_MOST_DF, max(1, prompts - 1)))
    cells, _ = _variance(centred, clusters.prompt * (int(clusters.replicate.max()) + 1) + clusters.replicate)
    variance = max(of_prompts + of_replicates - cells, of_prompts, of_replicates)  # it cannot be less than a part of it
    parts = of_replicates**2 / (replicates - 1) + of_prompts**2 / max(1, prompts - 1)
    df = variance**2 / parts if parts > 0 else replicates - 1  # Satterthwaite; no less than the fewer clusters have
    return Mean(mean, variance, int(min(_MOST_DF, max(1, min(replicates, prompts) - 1, df))))


def _variance(centred: np.ndarray, cluster: np.ndarray) -> tuple[float, int]:
    """(variance of the mean, as the clusters' sums have it; how many clusters)."""
    _, where = np.unique(cluster, return_inverse=True)
    sums = np.bincount(where, weights=centred)
    if len(sums) < 2:
        return math.nan, len(sums)
    found = float(sums @ sums) * len(sums) / (len(sums) - 1) / len(centred) ** 2
    return (found if found > 1e-24 else 0.0), len(sums)


def share(values: np.ndarray, clusters: Clusters) -> Share:
    """Mean of `values` [U], each in [0, 1], by Wilson's interval for as many coins as would vary as much.

    So it stays inside [0, 1] and is not empty at its ends. NaN where all values are the same, but neither 0 nor 1.
    """
    if not len(values):
        return Share(math.nan)
    mean = clustered_mean(values, clusters)
    if not mean.variance > 0:
        ends = (math.nan, math.nan)
        if mean.value in (0.0, 1.0):
            prompts = len(np.unique(clusters.prompt))
            ends = wilson(mean.value * prompts, prompts)
        return Share(mean.value, *ends, len(values))
    n, t = _coins(mean), t_quantile(LEVEL, mean.df)
    centre = (mean.value + t * t / (2 * n)) / (1 + t * t / n)
    half = t / (1 + t * t / n) * math.sqrt(mean.value * (1 - mean.value) / n + t * t / (4 * n * n))
    return Share(mean.value, max(0.0, centre - half), min(1.0, centre + half), len(values))


def p_of_half(values: np.ndarray, clusters: Clusters) -> float:
    """Two-sided p of a true mean of ½, below 0.05 exactly where the interval of `share` leaves ½ out; NaN as that."""
    if not len(values):
        return math.nan
    mean = clustered_mean(values, clusters)
    if not mean.variance > 0:
        prompts = len(np.unique(clusters.prompt))
        return 1 - t_central(math.sqrt(prompts), _MOST_DF) if mean.value in (0.0, 1.0) else math.nan
    return 1 - t_central(2 * abs(mean.value - 0.5) * math.sqrt(_coins(mean)), mean.df)


def _coins(mean: Mean) -> float:
    """How many independent coins have a mean that varies as much."""
    return mean.value * (1 - mean.value) / mean.variance

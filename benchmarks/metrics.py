"""What a set of scored preference pairs says about a reward model, with bootstrap intervals.

Every metric is a function of *weighted* examples. The estimate uses weight one throughout and a bootstrap resample is
just another weight vector (how often each example was drawn), so both take one code path and a thousand resamples are
a few matrix products. AUC needs no resorting either: the sort is done once and only the cumulative weights change.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np

ECE_BINS = 15
LEVEL = 0.95
_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)  # of the central 95 %
_BLOCK = 256_000  # resamples × examples held at once: 2 MB of float64, which a core's cache holds

Estimator = Callable[[np.ndarray], dict[str, np.ndarray]]  # weights [R, N] -> metric: [R]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """σ(x) without overflow at either end."""
    return np.exp(-np.logaddexp(0.0, -x))


def correctness(margins: np.ndarray) -> np.ndarray:
    """1 where the chosen response scores higher, 0 where lower, ½ for a tie. margins: r(chosen) − r(rejected)."""
    return (np.sign(margins) + 1.0) / 2.0


def auc(chosen: np.ndarray, rejected: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[R] ROC-AUC of the pooled scores (chosen = 1, rejected = 0, ties ½) under each row of `weights` [R, N].

    An example's weight counts for both of its scores: pairs are what is resampled.
    """
    order = np.argsort(rejected, kind="stable")
    below = np.zeros((len(weights), len(rejected) + 1))
    np.cumsum(weights[:, order], axis=1, out=below[:, 1:])
    ranks = np.argsort(chosen, kind="stable")
    ascending = rejected[order]
    strictly = below[:, np.searchsorted(ascending, chosen[ranks], side="left")]
    at_most = below[:, np.searchsorted(ascending, chosen[ranks], side="right")]
    return np.einsum("rn,rn->r", weights[:, ranks], strictly + at_most) / (2.0 * below[:, -1] ** 2)


def means(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[R, C] weighted means of `columns` [N, C] under each row of `weights` [R, N]."""
    return weights @ columns / weights.sum(axis=1, keepdims=True)


def length_controlled(correct: np.ndarray, longer: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[R] accuracy with both lengths balanced: the mean of that where the chosen response is the longer one and that
    where it is the shorter one.

    A scorer that sees nothing but length gets exactly ½, whatever the data. longer: [N] sign of chosen − rejected
    length; equal lengths are left out. NaN where one side has no weight.
    """
    sides = np.column_stack([longer > 0, longer < 0])
    total = weights @ sides
    right = weights @ (sides * correct[:, None])
    return np.divide(right, total, out=np.full_like(right, math.nan), where=total > 0).mean(axis=1)


def confidence_bins(margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N] confidence in the predicted winner, max(σ(Δ), 1 − σ(Δ)), and [N] its bin of ECE_BINS equal ones on [½, 1]."""
    confidence = sigmoid(np.abs(margins))
    return confidence, np.minimum((2.0 * confidence - 1.0) * ECE_BINS, ECE_BINS - 1).astype(int)


def forecasts(margins: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """log_loss, brier and ece, [R] each: σ(Δ) taken as the probability that the chosen response is the better one.

    ECE is that of the *predicted* winner: confidence max(σ, 1 − σ), never below ½, in 15 equal bins over [½, 1],
    against accuracy (a tie counts ½).
    """
    confidence, bins = confidence_bins(margins)
    columns = np.zeros((len(margins), 2 + ECE_BINS))
    columns[:, 0] = np.logaddexp(0.0, -margins)
    columns[:, 1] = sigmoid(-margins) ** 2
    columns[np.arange(len(margins)), 2 + bins] = correctness(margins) - confidence
    averaged = means(columns, weights)
    return {"log_loss": averaged[:, 0], "brier": averaged[:, 1], "ece": np.abs(averaged[:, 2:]).sum(axis=1)}


def estimates(chosen: np.ndarray, rejected: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric of scores [N] alone, [R] each, under weights [R, N]; of `forecasts` too.

    SNR is margin mean / population sd, and 0 when there is no spread (a constant scorer, a single pair).
    """
    margins = chosen - rejected
    offset = margins.mean()  # moments about it, so that a large common margin does not cancel the variance away
    centred = margins - offset
    columns = np.column_stack([correctness(margins), margins == 0, centred, centred**2])
    accuracy, tie_rate, shift, square = means(columns, weights).T
    variance = square - shift**2
    sd = np.sqrt(np.where(variance > 1e-12 * square, variance, 0.0))  # below that it is rounding, not spread
    mean = offset + shift
    return {
        "accuracy": accuracy,
        "tie_rate": tie_rate,
        "auc": auc(chosen, rejected, weights),
        "margin_mean": mean,
        "margin_sd": sd,
        "snr": np.divide(mean, sd, out=np.zeros_like(mean), where=sd > 0),
        **forecasts(margins, weights),
    }


def check_bootstrap(resamples: int, seed: int) -> None:
    """For the `__post_init__` of a benchmark's settings: raises ValueError."""
    if resamples < 1:
        raise ValueError(f"resamples: must be at least 1, not {resamples}")
    if seed < 0:
        raise ValueError(f"seed: must not be negative, not {seed}")


def resample_counts(n: int, resamples: int, rng: np.random.Generator, block: int = _BLOCK) -> Iterator[np.ndarray]:
    """Blocks [R, n], R · n at most `block`, of how often each of n things occurs in a bootstrap resample of size n."""
    step = max(1, block // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def percentiles(draws: np.ndarray) -> tuple[float, float]:
    """The end points of the central 95 % of `draws` [R], less those that are NaN; NaN where none is left."""
    ((low, high),) = percentiles_of_each(draws[None])
    return float(low), float(high)


def percentiles_of_each(draws: np.ndarray) -> np.ndarray:
    """[M, 2] the `percentiles` of every row of `draws` [M, R]: of many short rows a call each would take longer."""
    ends, undefined = np.full((len(draws), 2), math.nan), np.isnan(draws)
    whole = ~undefined.any(axis=1)
    if draws.shape[1] and whole.any():
        ends[whole] = np.quantile(draws[whole], _ENDS, axis=1).T
    for row in np.flatnonzero(~whole & ~undefined.all(axis=1)):
        ends[row] = np.quantile(draws[row, ~undefined[row]], _ENDS)
    return ends


def with_intervals(estimate: Estimator, n: int, resamples: int, rng: np.random.Generator) -> dict[str, float]:
    """`metric`, `metric_lo` and `metric_hi` for all that `estimate` returns: percentile bootstrap over n examples.

    A metric that is NaN, not defined on the examples, is left out; a resample on which it is not defined is left out of
    its interval. A resample's ECE is biased upwards (resampling adds noise to every bin), so the ECE interval sits high
    and may leave its own estimate below it; the others are centred.
    """
    blocks = [estimate(counts) for counts in resample_counts(n, resamples, rng)]
    values = {name: float(value[0]) for name, value in estimate(np.ones((1, n))).items() if not math.isnan(value[0])}
    draws = np.array([np.concatenate([block[name] for block in blocks]) for name in values]).reshape(-1, resamples)
    result: dict[str, float] = {}
    for (name, value), (low, high) in zip(values.items(), percentiles_of_each(draws), strict=True):
        result |= {name: value, f"{name}_lo": float(low), f"{name}_hi": float(high)}
    return result


def wilson(right: float, n: int) -> tuple[float, float]:
    """The 95 % score interval (Wilson 1927) of a share `right` / n, n ≥ 1; a tie is half a right one.

    Of one share it is as good as a bootstrap, never empty, and it costs nothing.
    """
    centre = right + _Z**2 / 2
    half = _Z * math.sqrt(right * (n - right) / n + _Z**2 / 4)
    lo, hi = (centre - half) / (n + _Z**2), (centre + half) / (n + _Z**2)
    return max(0.0, min(lo, right / n)), min(
        1.0, max(hi, right / n)
    )  # at 0 and 1 an end is the share, but for rounding


def coin_half_width(n: int) -> float:
    """How far from ½ a coin's accuracy on n pairs lies, in 95 % of its tosses at most (normal approximation)."""
    return min(0.5, _Z / (2 * math.sqrt(n)))


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
    return solve(lambda t: t_central(t, df), level)


def solve(rising: Callable[[float], float], value: float) -> float:
    """The x ≥ 0 with rising(x) = value, by bisection."""
    low, high = 0.0, 1.0
    while rising(high) < value:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return middle

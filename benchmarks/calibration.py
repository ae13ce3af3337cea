"""Are the probabilities a reward model implies to be believed? Reliability diagrams, and the temperature that helps.

σ(Δ) is what Bradley–Terry says of a pair. Temperature scaling (Guo et al. 2017) divides every margin by one number T,
fitted on held-out pairs: no ranking changes, so accuracy stays as it is and only the stated confidence moves. One
parameter is all that a few hundred validation pairs can carry; a diagram that is still bent at T needs another model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.metrics import ECE_BINS, confidence_bins, correctness, sigmoid, wilson

FEWEST_HELD_OUT = 50  # pairs that a temperature is fitted on
_STEPS, _NEAR, _ROUNDING = 50, 1e-11, 1e-14  # of Newton's method; a distance from its zero, relative; a slope's error
RANGE = (0.01, 1000.0)  # of T, in mean |Δ| of the validation pairs, so that T follows the scale of the scores


class Temperature(NamedTuple):
    """T, and why it is no minimum of the log-loss; the note is empty where it is one."""

    value: float
    note: str


def fit_temperature(margins: np.ndarray) -> Temperature:
    """The T > 0 that minimises the mean of −log σ(Δ/T) over `margins` [N ≥ 1], r(chosen) − r(rejected).

    The loss is convex in b = 1/T, so its derivative is bisected to the last bit. There is no minimum where every pair
    is ranked right (T → 0) nor where the mean margin is not positive (T → ∞): T is then at that end of `RANGE`.
    """
    size = float(np.abs(margins).mean())
    if size == 0:
        return Temperature(1.0, "every validation margin is 0, so that every temperature is as good")
    unit = margins / size

    def slope(b: float) -> float:
        return -float((unit * sigmoid(-b * unit)).sum() / len(unit))  # `np.mean` takes twice as long

    low, high = 1 / RANGE[1], 1 / RANGE[0]
    if slope(low) >= 0:
        why = "the scores say nothing of the validation labels, or the contrary"
        return Temperature(RANGE[1] * size, f"{why}: the largest temperature allowed ({RANGE[1]:g} × mean |Δ|)")
    if slope(high) <= 0:
        why = "no validation pair, or next to none, is ranked wrong"
        return Temperature(RANGE[0] * size, f"{why}: the smallest temperature allowed ({RANGE[0]:g} × mean |Δ|)")
    below, above = _around(unit, slope, low, high)
    while (middle := (low + high) / 2) not in (low, high):
        falls = middle <= below or (middle < above and slope(middle) < 0)
        low, high = (middle, high) if falls else (low, middle)
    return Temperature(size / middle, "")


def _around(unit: np.ndarray, slope: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """Two places close to each other, between which the rising `slope` of `fit_temperature` is 0: by Newton's method.

    A bisection need not look outside of them: there the sign is known, and far above what rounding may turn. Where
    Newton's method does not get so near, they are low and high.
    """
    ends, b, step = (low, high), 1.0, math.inf
    for _ in range(_STEPS):
        wrong = unit * sigmoid(-b * unit)
        value, curvature = -float(wrong.sum()), float(wrong @ (unit - wrong))
        low, high = (b, high) if value < 0 else (low, b)
        to = b - value / curvature if curvature > 0 else low
        to = to if low < to < high else math.sqrt(low * high)
        step, b = abs(to - b), to
        if step <= math.sqrt(_NEAR) * b:  # its square is how near the next step would come
            break
    below, above = b * (1 - _NEAR), b * (1 + _NEAR)
    return (below, above) if slope(below) < -_ROUNDING and slope(above) > _ROUNDING else ends


def information(margins: np.ndarray, held_out: np.ndarray | float) -> np.ndarray:
    """[N] bits that a model's margins [N] tell of each pair's label: 1 + log₂ σ(Δ/T), whose mean is at most 1.

    1: known for sure; 0: a coin; below: worse than a coin, and sure of it. held_out: margins [V] that T is fitted on,
    or T itself (`held_out_temperature`). It is never fitted on the pairs that are judged, so that to stretch all
    margins wins nothing. Where held-out pairs are fewer than FEWEST_HELD_OUT, T is cross-fitted: pairs at even places
    are judged at the T of those at odd places, and the other way round.
    """
    temperature = held_out if isinstance(held_out, float) else held_out_temperature(held_out)
    if not math.isnan(temperature):
        return _bits(margins / temperature)
    scaled = np.empty(len(margins))
    for half in (0, 1):
        others = margins[1 - half :: 2]
        scaled[half::2] = margins[half::2] / (_safe_temperature(others) if len(others) else np.inf)
    return _bits(scaled)


def held_out_temperature(held_out: np.ndarray) -> float:
    """The T that all of a model's splits are judged at; NaN of fewer than FEWEST_HELD_OUT margins [V]."""
    return _safe_temperature(held_out) if len(held_out) >= FEWEST_HELD_OUT else math.nan


def _bits(scaled: np.ndarray) -> np.ndarray:
    return 1.0 - np.logaddexp(0.0, -scaled) / np.log(2.0)


def _safe_temperature(margins: np.ndarray) -> float:
    """The T of `fit_temperature`. Where no T is best, one pair of mean size is added on either side.

    A model that ranks every held-out pair right would be believed without a bound, and its first mistake would cost
    hundreds of bits.
    """
    found = fit_temperature(margins)
    size = float(np.abs(margins).mean())
    return fit_temperature(np.append(margins, [size, -size])).value if found.note and size > 0 else found.value


def reliability(margins: np.ndarray) -> list[dict[str, Any]]:
    """The reliability diagram of the predicted winner, a bin of the ECE each; JSON.

    `lo`, `hi` the bin, `n` its pairs, `confidence` their mean max(σ, 1 − σ), `accuracy` with its Wilson interval (a tie
    counts ½). The ECE is Σ n · |accuracy − confidence| / Σ n. Where n is 0 the rest is null.
    """
    confidence, bins = confidence_bins(margins)
    counts = np.bincount(bins, minlength=ECE_BINS)
    total = np.bincount(bins, confidence, minlength=ECE_BINS)
    right = np.bincount(bins, correctness(margins), minlength=ECE_BINS)
    edges = np.linspace(0.5, 1.0, ECE_BINS + 1)
    return [_bin(float(edges[i]), float(edges[i + 1]), int(counts[i]), total[i], right[i]) for i in range(ECE_BINS)]


def _bin(lo: float, hi: float, n: int, total: float, right: float) -> dict[str, Any]:
    found: dict[str, Any] = {"lo": lo, "hi": hi, "n": n}
    if not n:
        return found | dict.fromkeys(("confidence", "accuracy", "accuracy_lo", "accuracy_hi"))
    low, high = wilson(float(right), n)
    share = {"accuracy": float(right / n), "accuracy_lo": low, "accuracy_hi": high}
    return found | {"confidence": float(total / n)} | share

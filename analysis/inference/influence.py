"""Every metric as a mean over examples, so that one paired test serves them all.

Accuracy is a mean already. AUC and SNR are replaced by pseudo-values: the metric plus each example's
influence on it, its first-order contribution. Their mean is the metric exactly, their variance over examples is
DeLong's (AUC) and the delta method's (SNR). First order only: on some dozens of examples it is an approximation.
"""

from __future__ import annotations

import numpy as np

from benchmarks.metrics import correctness


def per_example(metric: str, chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """[S, E] values whose mean over examples is the metric, from scores [S seeds, E examples].

    metric: accuracy, snr or auc. Raises KeyError for others.
    """
    return np.array([_METRICS[metric](c, r) for c, r in zip(chosen, rejected, strict=True)]).reshape(chosen.shape)


def _snr(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """m/s + (x − m)/s − m·((x − m)² − s²)/(2s³), with the population sd s; 0 without spread."""
    margins = chosen - rejected
    mean, sd = margins.mean(), margins.std()
    if sd <= 1e-6 * abs(mean):  # rounding, not spread: `benchmarks.metrics.estimates` has the same rule
        return np.zeros_like(margins)
    z = (margins - mean) / sd
    return mean / sd + z - mean / sd * (z**2 - 1) / 2


def _auc(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """A + (u − A) + (v − A): u of a pair's chosen score against all rejected, v of its rejected against all chosen."""
    over = _share_below(np.sort(rejected), chosen)
    under = 1 - _share_below(np.sort(chosen), rejected)
    return over + under - over.mean()


def _share_below(ascending: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each score the share of `ascending` that is below it, a tie counting ½."""
    left, right = (np.searchsorted(ascending, scores, side=side) for side in ("left", "right"))
    return (left + right) / (2 * len(ascending))


_METRICS = {
    "accuracy": lambda chosen, rejected: correctness(chosen - rejected),
    "snr": _snr,
    "auc": _auc,
}

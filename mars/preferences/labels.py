"""What the labels of pairs say beyond which reply was chosen: votes, ties and strength, as arrays.

Most datasets say nothing more, and then there are no arrays, so that whatever reads them does what it did without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mars.preferences.pair import TIE, DataError, Pair


class Labels(NamedTuple):
    """Of N pairs.

    agreement: [N] p, the share of annotators who preferred the chosen reply; None where it is 1 for every pair.
    strength: [N] by how much the chosen reply is better, 0 for a tie, NaN for a pair that does not tell; None where no
    pair does.
    """

    agreement: np.ndarray | None = None
    strength: np.ndarray | None = None

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Labels:
        """Those of `pairs`, which are read once. Raises DataError for an agreement outside [½, 1]."""
        told = ((pair.agreement, np.nan if pair.strength is None else pair.strength) for pair in pairs)
        both: np.ndarray = np.fromiter(told, dtype=np.dtype((np.float64, 2)), count=len(pairs))
        agreement, strength = both[:, 0].copy(), both[:, 1].copy()
        if len(odd := np.flatnonzero(~((agreement >= TIE) & (agreement <= 1)))):
            pair = pairs[int(odd[0])]
            raise DataError(f"{pair.id}: an agreement of {pair.agreement} is not in [0.5, 1] (exchange its two sides?)")
        return cls(
            None if (agreement == 1).all() else agreement,
            None if np.isnan(strength).all() else np.where(tied(agreement), 0.0, strength),
        )


def tied(agreement: np.ndarray) -> np.ndarray:
    """[N] bool: for which of [N] agreements neither reply is the better one."""
    return np.asarray(agreement) <= TIE


def log_loss(margins: np.ndarray, agreement: np.ndarray | None = None) -> np.ndarray:
    """[…, N] −p·log σ(Δ) − (1 − p)·log σ(−Δ) of margins [… , N] and agreements [N]; None: p = 1.

    The cross entropy of Bradley–Terry with what the annotators said, in nats (`mars.reward.loss`).
    """
    with np.errstate(invalid="ignore"):  # a model that diverged has NaN margins, and training says so
        hard = np.logaddexp(0, -margins)
    return hard if agreement is None else hard + (1 - agreement) * margins


def calibrated_losses(margins: np.ndarray, agreement: np.ndarray | None = None) -> np.ndarray:
    """[K, V] log-loss of s·Δ, [K, V] margins, s ≥ 0 of each row the scale (1 / temperature) of its least mean.

    agreement: [V] p of the pairs, None for 1. s is found by bisection, as the mean's slope E[−Δ(σ(−sΔ) − (1 − p))]
    rises in s. Where every margin is positive and every p is 1 it has no root, and s is so large that the loss is 0.
    """
    against = 0.0 if agreement is None else 1 - agreement
    reach = np.maximum(np.abs(margins).max(axis=1, keepdims=True), np.finfo(float).tiny)
    low, high = np.zeros_like(reach), np.full_like(reach, 1e4)
    shares = margins / reach
    for _ in range(60):
        middle = (low + high) / 2
        pull = shares / (1 + np.exp(np.clip(middle * shares, None, 700))) - against * shares
        slope = -pull.mean(axis=1, keepdims=True)
        low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
    return log_loss(high * shares, agreement)


def information(margins: np.ndarray, agreement: np.ndarray | None = None) -> float:
    """Bits a pair that [V] held-out margins tell of the labels, at the temperature that suits these pairs best.

    1 less the mean log-loss of `calibrated_losses` in bits: 0 for a coin, at most 1. The temperature is one number for
    all pairs, so what is fitted on the pairs that are judged is little: about 0.7 / V bits.
    """
    return float(1 - calibrated_losses(margins[None], agreement).mean() / np.log(2))

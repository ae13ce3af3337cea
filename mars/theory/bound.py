"""The paper's lower bound on the average Hessian of a mixture, next to the true factor.

With |Δ| ≤ m_L on the augmentation, |Δ| ≥ m_H on the data and E_aug ⪰ κ E_D on the span, the mixture (1−λ)D + λD_aug has

    H_mix ⪰ [1 + λ(κ σ′(m_L)/σ′(m_H) − 1)] H_D                                          (protocol.md section 8)

σ′ falls in |Δ|, so H_aug ⪰ σ′(m_L) E_aug ⪰ κ σ′(m_L) E_D ⪰ κ (σ′(m_L)/σ′(m_H)) H_D whatever the order of m_L and m_H:
the separation m_L < m_H is not needed for the inequality, only for σ′(m_L)/σ′(m_H) to exceed 1. The bound uses two
extremes, so one easy variant or one ambiguous base pair makes it loose. That is why the true factor is computed too:
the smallest generalised eigenvalue of (H_mix, H_D). Nothing here reads a label, so votes and ties change nothing: |Δ|
and σ′ are the same whichever reply is called chosen.

    mixture_bound((differences, margins), (drawn_differences, drawn_margins), share=2 / 3)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mars.theory.curvature import Span, eigenvalues, factored, span, whitened
from mars.theory.moments import Moments, moments

Rows = tuple[np.ndarray, np.ndarray]  # differences [M, d], margins [M]
_EPSILON = 4 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class Bound:
    """The bound, the truth, and what both are made of.

    low: m_L, the largest |Δ| of the augmentation. high: m_H, the smallest |Δ| of the data. kappa: the largest κ with
    E_aug ⪰ κ E_D on the span. share: λ. factor: the bound, so that H_mix ⪰ factor · H_D. truth: the largest c with
    H_mix ⪰ c H_D on the span. rounding: the float64 error of factor and truth together. Where H_D is singular to
    rounding, truth and rounding are NaN, and the bound counts as holding.
    """

    low: float
    high: float
    kappa: float
    share: float
    factor: float
    truth: float
    rounding: float

    @property
    def separated(self) -> bool:
        """Whether m_L < m_H: every variant is more ambiguous than any base pair."""
        return self.low < self.high

    @property
    def gains(self) -> bool:
        """Whether κ σ′(m_L) > σ′(m_H): the bound promises more curvature than the data have."""
        return _gain(self.kappa, self.low, self.high) > 1

    @property
    def holds(self) -> bool:
        """Whether truth ≥ factor up to rounding."""
        return not self.truth < self.factor - self.rounding


def mixture_bound(data: Moments | Rows, augmentation: Moments | Rows, share: float, space: Span | None = None) -> Bound:
    """The bound and the truth for (1 − share) · data + share · augmentation, each averaged over its own weight.

    data, augmentation: moments, or differences [M, d] with margins [M]. share: λ in [0, 1]; where both are trained on
    together it is Σw of the drawn rows over Σw of all rows. space: the data's span, computed here by default.

    Raises ValueError for a share outside [0, 1], and as `moments`.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: must be between 0 and 1, not {share}")
    data, augmentation = (rows if isinstance(rows, Moments) else moments(*rows) for rows in (data, augmentation))
    space = span(data.coverage) if space is None else space

    def smallest(part: str) -> tuple[float, float]:
        return _smallest(*(space.project(getattr(rows, part)) / rows.weight for rows in (augmentation, data)))

    (kappa, kappa_rounding), (hessian, hessian_rounding) = smallest("coverage"), smallest("hessian")
    low, high = augmentation.margin_max, data.margin_min
    return Bound(
        low,
        high,
        kappa,
        share,
        factor=1 + share * (_gain(kappa, low, high) - 1),
        truth=1 - share + share * hessian,  # H_mix = (1 − λ)H_D + λH_aug
        rounding=_EPSILON + share * (_gain(kappa_rounding, low, high) + hessian_rounding),
    )


def _gain(kappa: float, low: float, high: float) -> float:
    """κ σ′(low) / σ′(high), also for margins at which σ′ underflows; at worst infinite."""
    with np.errstate(over="ignore"):
        ratio = float(np.exp(high - low)) * ((1 + math.exp(-high)) / (1 + math.exp(-low))) ** 2
    return kappa * ratio if kappa else 0.0


def _smallest(matrix: np.ndarray, against: np.ndarray) -> tuple[float, float]:
    """(the smallest c with matrix·v = c·against·v, its rounding error); c ≥ 0, as both are positive semi-definite.

    Both are NaN where `against` is singular to rounding: margins so large that σ′ vanishes in a direction.
    """
    factor = factored(against)
    if factor is None:
        return math.nan, math.nan
    value = max(0.0, float(eigenvalues(whitened(matrix, factor))[0]))
    inverse = float(torch.linalg.matrix_norm(torch.cholesky_inverse(torch.from_numpy(factor))))  # of `against`
    size = float(np.linalg.norm(matrix) + value * np.linalg.norm(against))
    return value, _EPSILON * (1 + inverse * size)

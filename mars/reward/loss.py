"""The Bradley–Terry loss: −log σ(Δ), Δ = r(chosen) − r(rejected), as a *sum* over pairs.

A sum, because the step divides by the weight of the whole step: micro-batches of any size then give the gradient of the
one big batch, which a mean of micro-batch means does not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def bradley_terry(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    centering: float = 0.0,
) -> torch.Tensor:
    """Σ_i w_i·[−(1−ε)·log σ(Δ_i) − ε·log σ(−Δ_i) + c·(r⁺_i + r⁻_i)²], a scalar.

    chosen, rejected: [B] scores. weights: [B] w, None = all one. label_smoothing: ε in [0, ½). centering: c, the weight
    of the penalty that keeps scores near zero (Eisenstein et al. 2312.09244); margins alone leave their mean free.
    """
    margins = chosen - rejected
    loss = -(1 - label_smoothing) * F.logsigmoid(margins) - label_smoothing * F.logsigmoid(-margins)
    if centering:
        loss = loss + centering * (chosen + rejected).square()
    return loss.sum() if weights is None else (loss * weights).sum()

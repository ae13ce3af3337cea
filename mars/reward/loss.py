"""The Bradley–Terry loss: −log σ(Δ), Δ = r(chosen) − r(rejected), as a *sum* over pairs.

A sum, because the step divides by the weight of the whole step: micro-batches of any size then give the gradient of the
one big batch, which a mean of micro-batch means does not.

Where a share p of a pair's annotators preferred the chosen reply, the loss is the cross entropy of σ(Δ) with p,
−p·log σ(Δ) − (1 − p)·log σ(−Δ) (Christiano et al. 1706.03741, section 2.2.3, where a tie is p = ½). Its slope is
σ(Δ) − p, so it pulls Δ to the log-odds of p; its curvature is σ′(Δ), whatever p is. Label smoothing by ε makes of p the
label p′ = (1 − ε)·p + ε·(1 − p).

A pair's strength may count as a margin that Δ has to exceed, −log σ(Δ − m) (Touvron et al. 2307.09288, equation 2):
Δ − m then takes the place of Δ in all of the above. Or it may be the pair's weight (`mars.method.targets`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Told(NamedTuple):
    """What B labels say beyond which reply was chosen, [B] each; None where they say no more.

    agreement: p in [½, 1]. offsets: m.
    """

    agreement: torch.Tensor | None = None
    offsets: torch.Tensor | None = None


def bradley_terry(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    centering: float = 0.0,
    told: Told | None = None,
) -> torch.Tensor:
    """Σ_i w_i·[−p′_i·log σ(Δ_i − m_i) − (1 − p′_i)·log σ(m_i − Δ_i) + c·(r⁺_i + r⁻_i)²], a scalar.

    chosen, rejected: [B] scores. weights: [B] w, None = all one. label_smoothing: ε in [0, ½), so that p′ is 1 − ε for
    a label that says no more than which reply was chosen. centering: c, the weight of the penalty that keeps scores
    near zero (Eisenstein et al. 2312.09244); margins alone leave their mean free. told: p and m where labels say more.
    """
    agreement, offsets = told or Told()
    margins = chosen - rejected if offsets is None else chosen - rejected - offsets
    right: float | torch.Tensor = 1 - label_smoothing
    wrong: float | torch.Tensor = label_smoothing
    if agreement is not None:  # both by themselves: of p = 1 the same bits as without it
        right, wrong = (
            right * agreement + wrong * (1 - agreement),
            wrong * agreement + right * (1 - agreement),
        )
    loss = -right * F.logsigmoid(margins) - wrong * F.logsigmoid(-margins)
    if centering:
        loss = loss + centering * (chosen + rejected).square()
    return loss.sum() if weights is None else (loss * weights).sum()

"""Fisher: budgets by the gain in log-determinant, the paper's theory of curvature taken literally.

Source: this project; greedy D-optimal design (Fedorov 1972) with lazy gains (Minoux 1978). Each of B draws goes to the
pair whose copy raises log det M most, M = Σ σ′(Δ)δδᵀ over base pairs and draws so far: the Fisher information of the
Bradley–Terry model, had every row a label of its own. A copy has its parent's, and what that costs is measured
elsewhere (docs/theory.md). The arm chooses pairs, not wordings: a copy stands for whichever variant is drawn.

Votes and ties change nothing: the Hessian of the cross entropy with any label is σ′(Δ)δδᵀ, in which neither the label
nor the sign of Δ occurs. Margins and weights of `train.margin` are the loss's, not the model's: M is without them.

In coordinates where M of the base pairs is the identity a copy of pair i gains log(1 + s_i), s_i = z_iᵀPz_i, P = M⁻¹.
A draw is a rank-one update of P (Sherman–Morrison), O(d²), and only lowers every s: what a pair gained when it was last
looked at is an upper bound. So the best few are kept exact, the others are brought up to date, in one matrix product,
when the best of the few falls below their bound. Products are PyTorch's, which keeps to the run's `threads`; it is
imported when they are taken, so that the arm's settings are read without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mars.method import allocation
from mars.method.strategy import Round, Selection, within_pairs

if TYPE_CHECKING:
    import torch

_ACTIVE = 128  # pairs whose gains are kept exact
_DIGITS = 12  # of s in [0, 1]: what agrees to so many is a tie


@dataclass(frozen=True)
class Fisher:
    """B greedy draws under M + ridge·(trace M / d)·I, M the base pairs' σ′(Δ)-weighted Gram matrix.

    The ridge keeps directions of no base pair finite; no draw of copies gains anything in them.
    """

    ridge: float = 1e-6

    def __post_init__(self) -> None:
        if not (np.isfinite(self.ridge) and self.ridge > 0):
            raise ValueError(f"ridge: must be above 0, not {self.ridge}")

    def select(self, view: Round) -> Selection:
        """Variants of the pairs that got the greedy draws, as many of each as it got."""
        rows = whitened(view.differences(view.pool.copies), view.margins, self.ridge)
        budgets, gain = greedy(rows, view.budget, view.rng)
        effective = allocation.effective_pairs(budgets / budgets.sum()) if budgets.any() else 0.0
        return Selection(
            within_pairs(view, budgets),
            diagnostics={
                "logdet_gain": gain,
                "effective_pairs": effective,
                "steering": float(budgets.any() and allocation.steers(budgets)),
            },
        )


def whitened(differences: np.ndarray, margins: np.ndarray, ridge: float) -> np.ndarray:
    """[N, d] z_i = √σ′(Δ_i)·L⁻¹δ_i, LLᵀ = Σ σ′(Δ)δδᵀ + ridge·(trace / d)·I; all zero where that sum is.

    differences: [N, d] δ; margins: [N] Δ. ValueError for a margin that is not finite.
    """
    import torch

    if not np.isfinite(margins).all():
        raise ValueError(f"margin of pair {int(np.flatnonzero(~np.isfinite(margins))[0])} is not finite")
    # √σ′(Δ) = 1 / (e^{Δ/2} + e^{−Δ/2})
    weighted = differences * (0.5 / np.cosh(np.minimum(np.abs(margins), 1400) / 2))[:, None]
    rows = torch.from_numpy(weighted)
    hessian = rows.T @ rows
    scale = float(hessian.trace()) / len(hessian)
    if not scale > np.finfo(float).tiny:
        return np.zeros_like(weighted)
    factor = torch.linalg.cholesky(hessian + ridge * scale * torch.eye(len(hessian), dtype=hessian.dtype))
    return torch.linalg.solve_triangular(factor, rows.T, upper=False).T.numpy()


def greedy(rows: np.ndarray, budget: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """([N] int budgets, nats gained): `budget` draws of `rows`, each the one that raises log det(I + Σ zzᵀ) most.

    rows: [N, d] z. Of rows that gain the same the one drawn least so far is taken, then one by `rng`.
    """
    import torch

    shuffled = rng.permutation(len(rows))
    rows = rows[shuffled]
    shared = torch.from_numpy(rows)
    inverse = torch.eye(rows.shape[1], dtype=torch.float64)  # P
    gains = np.square(rows).sum(axis=1)  # s
    drawn = np.zeros(len(rows), dtype=np.int64)
    left, gained = budget, 0.0
    while left:
        order = np.lexsort((drawn, -np.round(gains, _DIGITS)))
        few = order[:_ACTIVE]
        near, exact = shared[few], gains[few]
        bound = np.round(np.max(gains[order[_ACTIVE:]], initial=-1.0), _DIGITS)
        updates: list[torch.Tensor] = []
        while left and len(updates) < _ACTIVE:
            level = np.round(exact, _DIGITS)
            best = np.flatnonzero(level == level.max())
            pick = best[drawn[few[best]].argmin()]
            if updates and level[pick] <= bound:
                break
            update = inverse @ near[pick] / math.sqrt(1 + exact[pick])
            gained += math.log1p(exact[pick])
            inverse.addr_(update, update, alpha=-1)
            exact -= np.square((near @ update).numpy())
            drawn[few[pick]] += 1
            updates.append(update)
            left -= 1
        gains -= np.square((shared @ torch.stack(updates).T).numpy()).sum(axis=1)
    budgets = np.empty_like(drawn)
    budgets[shuffled] = drawn
    return budgets, gained

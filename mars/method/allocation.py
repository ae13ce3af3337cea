"""Margins to integer budgets: where MARS decides what to augment.

Largest remainder rather than multinomial sampling: the budget is spent exactly and the only noise left is which variant
is drawn. The diagnostics exist because small τ or small margins make MARS indistinguishable from uniform: with the
released v1 settings and an untrained head every pair gets exactly B/N rows, and only a printed number shows it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Score = Literal["absolute", "signed"]


def probabilities(margins: np.ndarray, tau: float, score: Score) -> np.ndarray:
    """[N] q_i ∝ exp(−τ·|Δ_i|) (absolute, v1) or exp(−τ·Δ_i) (signed, v2), summing to one.

    margins: [N] float, r(chosen) − r(rejected). tau: the authors' ALPHA, an inverse temperature; 0 is uniform, a
    negative value prefers easy pairs. ValueError for no pairs, or a margin or τ that is not finite.
    """
    margins = np.asarray(margins, dtype=np.float64)
    if margins.ndim != 1 or margins.size == 0:
        raise ValueError("allocation needs at least one margin")
    if not np.isfinite(margins).all():
        raise ValueError(f"margin of pair {int(np.flatnonzero(~np.isfinite(margins))[0])} is not finite")
    if not np.isfinite(tau):
        raise ValueError(f"tau must be finite, not {tau}")
    priority = -(np.abs(margins) if score == "absolute" else margins) * np.sign(tau)
    # Shifted before the multiplication, so that a huge τ gives a hard choice and never inf − inf.
    with np.errstate(over="ignore", under="ignore"):
        q = np.exp(abs(tau) * (priority - priority.max()))
    return q / q.sum()


def largest_remainder(q: np.ndarray, budget: int, rng: np.random.Generator) -> np.ndarray:
    """[N] int budgets b with Σ b = `budget` and |b_i − budget·q_i| < 1; equal remainders are broken by `rng`.

    q: [N] float, non-negative, sums to one. ValueError for a negative budget.
    """
    if budget < 0:
        raise ValueError(f"budget must not be negative, not {budget}")
    quota = budget * q
    floors = np.floor(quota)
    left = budget - int(floors.sum())
    ties = rng.permutation(len(q))
    budgets = floors.astype(np.int64)
    if left:
        owed = floors - quota  # the least are owed most
        last = np.partition(owed, left - 1)[left - 1]
        tied = np.flatnonzero(owed == last)
        some = left - int((owed < last).sum())
        budgets[owed < last] += 1
        budgets[tied[np.argsort(ties[tied])[:some]]] += 1
    return budgets


def effective_pairs(q: np.ndarray) -> float:
    """exp(H(q)): the number of equally likely pairs that would be as spread out; N for uniform, 1 for one pair."""
    positive = q[q > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def steers(budgets: np.ndarray) -> bool:
    """Whether any budget is more than one row away from B/N, i.e. whether this is not stratified uniform sampling."""
    return bool(np.abs(budgets - budgets.sum() / len(budgets)).max() > 1)


def budget_diagnostics(budgets: np.ndarray) -> dict[str, float]:
    """How unequally rows are spread over pairs; budgets: [N] int rows per base pair."""
    total, n = int(budgets.sum()), len(budgets)
    top = np.sort(budgets)[::-1][: max(1, round(n / 10))]
    return {
        "budget_min": int(budgets.min()),
        "budget_max": int(budgets.max()),
        "share_none": float((budgets == 0).mean()),
        "top_decile_share": float(top.sum() / total) if total else 0.0,
    }


def margin_diagnostics(margins: np.ndarray) -> dict[str, float]:
    """Mean, population sd and quantiles of [N] margins, and the share that is mis-ranked (Δ < 0)."""
    quantiles = {f"margin_q{p:02d}": float(np.quantile(margins, p / 100)) for p in (5, 25, 50, 75, 95)}
    return {
        "margin_mean": float(margins.mean()),
        "margin_sd": float(margins.std()),
        **quantiles,
        "margin_negative_share": float((margins < 0).mean()),
    }

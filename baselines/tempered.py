"""MARS with the concentration found, not set: each round the τ that spreads q over a target number of effective pairs.

Source: this project. A fixed τ multiplies margins whose scale the model sets: the released τ = 0.1 steers nothing on an
untrained head, and one τ steers harder every round as margins grow. Fixing exp(entropy of q) instead fixes how hard the
arm steers. That number falls in τ from N to the number of pairs tied at the least score, so bisection finds τ. Votes
and ties are read as by MARS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mars.method import allocation
from mars.method.strategy import Mars, Round, Selection, scored_margins

_HUGE = 1e300  # where τ stops: a hard choice long before


@dataclass(frozen=True)
class Tempered:
    """MARS at the τ ≥ 0 for which effective pairs = effective·N; score as for MARS.

    Where more pairs than that tie at the least score, the nearest τ can do is those pairs in equal shares.
    """

    effective: float = 0.5
    score: allocation.Score = "absolute"

    def __post_init__(self) -> None:
        if not 0 < self.effective <= 1:
            raise ValueError(f"effective: must be in (0, 1], not {self.effective}")

    def select(self, view: Round) -> Selection:
        """What `Mars` draws at the τ that this round's margins ask for."""
        tau = temperature(scored_margins(view, self.score), self.effective * len(view.pairs), self.score)
        chosen = Mars(tau, self.score).select(view)
        return replace(chosen, diagnostics={**chosen.diagnostics, "tau": tau})


def temperature(margins: np.ndarray, target: float, score: allocation.Score) -> float:
    """The τ ≥ 0 at which exp(entropy of q) is `target`, within a part in 10⁶; 0 where all scores are equal.

    margins: [N] float. target: pairs, at most N; where it is out of reach, a τ that leaves the least scores alone.
    ValueError for a margin that is not finite.
    """

    def effective(tau: float) -> float:
        return allocation.effective_pairs(allocation.probabilities(margins, tau, score))

    if target >= (1 - 1e-9) * effective(0.0):
        return 0.0
    scores = np.abs(margins) if score == "absolute" else margins
    spread = float(np.ptp(scores))
    if not spread > 1 / _HUGE:
        return 0.0
    reach = max(target, float((scores == scores.min()).sum()) * (1 + 1e-9))
    low, high = 0.0, max(1 / spread, 1 / _HUGE)
    while effective(high) > reach and high < _HUGE:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) > reach else (low, middle)
    return high

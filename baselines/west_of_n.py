"""West-of-N: of n candidate replies to a prompt, the best against the worst under the current model.

Source: Pace et al. 2401.12086. Deviations: their candidates are sampled from a policy, ours are the pool's variants of
both sides, since no arm here may use text another arm cannot; and the model labels, so a drawn row need not inherit its
parent's label, and has none of its votes or strength. Prompts stay the original ones, and the gate on flipped rows has
no say. Their confidence filter is `quantile`: that share of the drawn pairs, those with the least predicted preference
probability, is left out; more are drawn so that B remain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mars.method import allocation
from mars.method.strategy import Round, Selection


@dataclass(frozen=True)
class WestOfN:
    """B rows, each the best against the worst of `n` random candidates of one prompt."""

    n: int = 5
    quantile: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"n: a best and a worst need at least 2 candidates, not {self.n}")
        if not 0 <= self.quantile <= 0.99:  # what it leaves out has to be drawn first
            raise ValueError(f"quantile: must be in [0, 0.99], not {self.quantile}")

    def select(self, view: Round) -> Selection:
        """The B surest of the rows that put the best against the worst of `n` random variants of a pair."""
        pool, width = view.pool, view.pool.config.width
        if not view.budget:
            return Selection(np.empty(0, dtype=np.int64))
        if self.n > 2 * width:
            raise ValueError(f"method.n: {self.n} candidates are more than the {2 * width} variants of a pair")
        slots = np.concatenate([np.arange(1, width + 1), np.arange(width + 2, 2 * width + 2)])
        # A row with one text on both sides stands for that text.
        single = pool.rows(np.arange(len(view.pairs))[:, None], slots, slots).ravel()
        admitted = view.admits(single)
        scores = np.full((len(view.pairs), len(slots)), np.nan)
        scores.flat[np.flatnonzero(admitted)] = view.scores(single[admitted])[:, 0]
        able = np.flatnonzero((~np.isnan(scores)).sum(axis=1) >= self.n)
        if not len(able):
            return Selection(np.empty(0, dtype=np.int64))

        wanted = math.ceil(view.budget / (1 - self.quantile))
        shares = allocation.largest_remainder(np.full(len(able), 1 / len(able)), wanted, view.rng)
        parents = np.repeat(able, shares)
        # n random candidates of each: the refused ones sort last.
        keys = np.where(np.isnan(scores[parents]), np.inf, view.rng.random((len(parents), len(slots))))
        candidates = np.argsort(keys, axis=1)[:, : self.n]
        values = np.take_along_axis(scores[parents], candidates, axis=1)
        best, worst = values.argmax(axis=1), self.n - 1 - values[:, ::-1].argmin(axis=1)  # two texts also where all tie
        line = np.arange(len(parents))
        confidence = values[line, best] - values[line, worst]
        kept = np.sort(np.lexsort((line, -confidence))[: view.budget])
        rows = pool.rows(parents, slots[candidates[line, best]], slots[candidates[line, worst]])[kept]
        inherited = float(pool.inherits(rows).mean()) if len(rows) else 0.0
        return Selection(rows, diagnostics={"inherited_share": inherited}, labelled=True)

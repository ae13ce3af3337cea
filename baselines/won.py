"""WoN: of each source the B/N pool rows the current model is surest of.

Source: the authors' code, where the arm bears this name: rows ranked within their source by signed margin. It re-ranks
paraphrases; it is not the policy sampling of West-of-N (`baselines/west_of_n.py`). Deviation: rows of equal margin,
which an untrained head gives everywhere, are ranked at random, not by their place in the table. `drop_prompt` is what
the released code does to the drawn rows. Under votes the margin is that of the reply that most prefer. Of a tie the
surest rows are those whose margin is nearest to 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mars.method.strategy import Round, Selection, equal_shares


@dataclass(frozen=True)
class WoN:
    """Top B/N rows of each pair by signed margin; scores the whole pool, so it makes all of it."""

    drop_prompt: bool = False

    def select(self, view: Round) -> Selection:
        """B variants, from each pair in equal shares those with the largest margins."""
        if not view.budget:
            return Selection(np.empty(0, dtype=np.int64))
        pool, budgets = view.pool, equal_shares(view)
        rows = pool.inherited()
        rows = rows[view.admits(rows)]
        parents = pool.parents(rows)
        # By parent, then the surest first, then at random.
        margins = view.margins_of(rows)
        sure = np.where(view.tied[parents], -np.abs(margins), margins)
        order = np.lexsort((view.rng.permutation(len(rows)), -sure, parents))
        starts = np.searchsorted(parents[order], np.arange(len(view.pairs)))
        owned = np.bincount(parents, minlength=len(view.pairs))
        budgets = np.where(owned > 0, budgets, 0)
        # The k-th row a pair is owed is its k-th best, from the best again where the budget outlasts the pool.
        owner = np.repeat(np.arange(len(budgets)), budgets)
        k = np.arange(len(owner)) - np.repeat(np.cumsum(budgets) - budgets, budgets)
        drawn = rows[order[starts[owner] + k % owned[owner]]]
        return Selection(pool.without_prompt(drawn) if self.drop_prompt else drawn)

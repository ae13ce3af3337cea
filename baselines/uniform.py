"""Uniform augmentation: B rows drawn evenly from the whole pool.

Source: the authors' code; without replacement while the pool lasts. `method=eda` is this arm over an EDA pool. No label
is read; a row has its parent's votes.
"""

from __future__ import annotations

from dataclasses import dataclass

from mars.method.strategy import Round, Selection, anywhere


@dataclass(frozen=True)
class Uniform:
    """B rows uniformly over the whole pool, never looking at a margin."""

    def select(self, view: Round) -> Selection:
        """B variants from anywhere in the pool, so that a pair's share is chance."""
        return Selection(anywhere(view, view.budget))

"""Stratified uniform augmentation: every base pair gets B/N rows, which of them is drawn.

Source: this project. What MARS becomes at τ = 0 or with flat margins, without the cost of scoring. MARS's difference to
it is what choosing *where* to augment is worth; its own difference to uniform is what equal shares are worth.
No label is read; a row has its parent's votes.
"""

from __future__ import annotations

from dataclasses import dataclass

from mars.method.strategy import Round, Selection, equal_shares, within_pairs


@dataclass(frozen=True)
class Stratified:
    """B/N rows from each pair by largest remainder, never looking at a margin."""

    def select(self, view: Round) -> Selection:
        """B variants, from each pair as many as from any other, give or take one."""
        return Selection(within_pairs(view, equal_shares(view)))

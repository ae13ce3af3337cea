"""No augmentation: the base pairs alone, once an epoch or repeated to as many rows as the other arms train on.

Source: the authors' code (`no augmentation`), where the arm takes 80 optimiser steps against 235 or 470 of the others.
`none_matched` is this project's control for that: B base rows again, so that rows, steps and learning-rate schedule are
those of an augmenting arm and only the new text is missing. Neither reads a label; a repeat has its pair's votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mars.method.strategy import Round, Selection, equal_shares


@dataclass(frozen=True)
class NoAugmentation:
    """Draws nothing, whatever the budget."""

    draws: ClassVar[bool] = False

    def select(self, view: Round) -> Selection:
        """No rows."""
        return Selection(np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class NoneMatched:
    """Repeats the base pairs, B rows in equal shares."""

    draws: ClassVar[bool] = False

    def select(self, view: Round) -> Selection:
        """B rows that are the base pairs themselves, each as often as any other, give or take one."""
        return Selection(np.repeat(view.pool.copies, equal_shares(view)))

"""Pool rows to model inputs, each distinct text rendered once.

Rows of one pair share their texts: 25 rows of a 5 × 5 grid are 10 texts. Keeping the model's text number by (parent,
prompt, text) makes scoring a whole pool a matter of looking numbers up, and the forward passes those of its texts.
"""

from __future__ import annotations

import numpy as np

from mars.config import ConfigError
from mars.method.clock import Clock
from mars.pool.pool import Pool
from mars.reward.texts import Texts


class RowInputs:
    """Text numbers of a pool's rows. clock: charged for the variants and the tokens it takes to have them."""

    def __init__(self, pool: Pool, texts: Texts, clock: Clock | None = None):
        self.pool, self._texts, self._clock = pool, texts, clock or Clock()
        self._numbers = np.full(pool.shape[:3], -1, dtype=np.int64)  # by parent, prompt, text

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """[M, 2] text numbers of the chosen and rejected sides of [M] rows that the gates let pass."""
        parents, prompts, chosen, rejected = self.pool.address(rows)
        cells = np.stack(
            [np.ravel_multi_index((parents, prompts, side), self._numbers.shape) for side in (chosen, rejected)], axis=1
        )
        new = np.unique(cells[self._numbers.flat[cells] < 0])
        if len(new):
            with self._clock("pool"):
                passed = self.pool.admits(rows)
            if not passed.all():
                raise ConfigError(f"row {self.pool.names(rows[~passed][:1])[0]} was drawn although a gate refuses it")
            texts = [
                (self.pool.prompt(parent, prompt), self.pool.text(parent, text))
                for parent, prompt, text in zip(*np.unravel_index(new, self._numbers.shape), strict=True)
            ]
            with self._clock("tokenising"):
                self._numbers.flat[new] = self._texts.add(texts)
        return self._numbers.flat[cells]

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

_BLOCK = 1 << 19  # rows looked up at once


class RowInputs:
    """Text numbers of a pool's rows. clock: charged for the variants and the tokens it takes to have them."""

    def __init__(self, pool: Pool, texts: Texts, clock: Clock | None = None):
        self.pool, self._texts, self._clock = pool, texts, clock or Clock()
        pairs, prompts, sides, _ = pool.shape
        # Text number plus one by prompt, parent and text, 0 where there is none yet. With the prompt first, and zeros
        # that take no memory until they are written to, prompts that no row has cost nothing.
        self._known = np.zeros((prompts, pairs, sides), dtype=np.int32)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """[M, 2] text numbers of the chosen and rejected sides of [M] rows that the gates let pass."""
        found = np.empty((len(rows), 2), dtype=np.int64)
        for start in range(0, len(rows), _BLOCK):
            found[start : start + _BLOCK] = self._of_block(rows[start : start + _BLOCK])
        return found

    def _of_block(self, rows: np.ndarray) -> np.ndarray:
        parents, prompts, chosen, rejected = self.pool.address(rows)
        cells = prompts[:, None], parents[:, None], np.stack([chosen, rejected], axis=1)
        found = self._known[cells]
        if not found.all():
            with self._clock("pool"):
                passed = self.pool.admits(rows)
            if not passed.all():
                raise ConfigError(f"row {self.pool.names(rows[~passed][:1])[0]} was drawn although a gate refuses it")
            self._add(*(part[found == 0] for part in np.broadcast_arrays(*cells)))
            found = self._known[cells]
        return found - 1

    def _add(self, prompts: np.ndarray, parents: np.ndarray, texts: np.ndarray) -> None:
        """Number the texts in these cells, in the order of parents, then of prompts."""
        shape = self.pool.shape[:3]
        parents, prompts, texts = np.unravel_index(
            np.unique(np.ravel_multi_index((parents, prompts, texts), shape)), shape
        )
        places = zip(parents.tolist(), prompts.tolist(), texts.tolist(), strict=True)
        said = ((self.pool.prompt(parent, prompt), self.pool.text(parent, text)) for parent, prompt, text in places)
        with self._clock("tokenising"):
            self._known[prompts, parents, texts] = self._texts.add(said) + 1

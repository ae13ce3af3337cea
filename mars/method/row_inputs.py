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
    """Text numbers of a pool's rows. clock: charged for the variants and the tokens it takes to have them.

    block: rows looked up at once.
    """

    def __init__(self, pool: Pool, texts: Texts, clock: Clock | None = None, block: int = 1 << 19):
        self.pool, self._texts, self._clock, self._block = pool, texts, clock or Clock(), block
        pairs, prompts, sides, _ = pool.shape
        # Text number plus one by prompt, parent and text, 0 where there is none yet. With the prompt first, and zeros
        # that take no memory until they are written to, prompts that no row has cost nothing.
        self._known = np.zeros((prompts, pairs, sides), dtype=np.int32)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """[M, 2] text numbers of the chosen and rejected sides of [M] rows that the gates let pass."""
        found = np.empty((len(rows), 2), dtype=np.int64)
        missing = []
        for start in range(0, len(rows), self._block):
            block = rows[start : start + self._block]
            parents, prompts, chosen, rejected = self.pool.address(block)
            cells = np.broadcast_arrays(parents[:, None], prompts[:, None], np.stack([chosen, rejected], axis=1))
            known = self._known[cells[1], cells[0], cells[2]]
            found[start : start + self._block] = known
            if not known.all():
                self._check(block)
                missing.append(np.ravel_multi_index(cells, self.pool.shape[:3])[known == 0])
        if not missing:
            return found - 1
        self._add(np.unique(np.concatenate(missing)))
        return self.numbers(rows)

    def _check(self, rows: np.ndarray) -> None:
        """Makes the variants of `rows`. Raises ConfigError where a gate refuses one."""
        with self._clock("pool"):
            passed = self.pool.admits(rows)
        if not passed.all():
            raise ConfigError(f"row {self.pool.names(rows[~passed][:1])[0]} was drawn although a gate refuses it")

    def _add(self, cells: np.ndarray) -> None:
        """Number the texts in these cells: [K] int, (parent, prompt, text) raveled, in their order."""
        for start in range(0, len(cells), self._block):
            parents, prompts, texts = np.unravel_index(cells[start : start + self._block], self.pool.shape[:3])
            places = zip(parents.tolist(), prompts.tolist(), texts.tolist(), strict=True)
            said = ((self.pool.prompt(parent, prompt), self.pool.text(parent, text)) for parent, prompt, text in places)
            with self._clock("tokenising"):
                self._known[prompts, parents, texts] = self._texts.add(said) + 1

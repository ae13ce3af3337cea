"""Which synthetic pairs there are, each as a number, before a text of any is made.

Each side of a base pair has `width` variants, and so may its prompt. A pool row is one number, the address (parent,
prompt, chosen, rejected) raveled:

    text     0 … w are the chosen side, w + 1 … 2w + 1 the rejected one; the first of each is the original
    prompt   0 is the original, 1 … w are its variants, w + 1 is none at all (`without_prompt`)

`grid` gives the rows that inherit the parent's label, `copies` the base pairs themselves, and `swapped` the rows with
their sides exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np

from mars.pool.gates import GatesConfig


@dataclass(frozen=True)
class PoolConfig:
    """Which synthetic pairs there are (conf `pool:`).

    rows: "grid" is every variant of the chosen side with every variant of the rejected one (the authors' code);
    "grid_with_originals" adds the originals to both, excluding the base pair itself: (n⁺ + 1)(n⁻ + 1) − 1 rows (the
    paper). Originals are the base texts, also where a semantic layer rewrote what the variants are made from. prompts:
    row (i, j) also takes prompt variant (i + j) mod n instead of the original prompt.
    """

    width: int = 5  # variants of each side, n
    rows: Literal["grid", "grid_with_originals"] = "grid"
    prompts: bool = False
    gates: GatesConfig = field(default_factory=GatesConfig)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width: must be at least 1, not {self.width}")


class Addresses:
    """The rows of `pairs` base pairs under a config."""

    def __init__(self, pairs: int, config: PoolConfig):
        self.config = config
        self.shape = (pairs, config.width + 2, 2 * (config.width + 1), 2 * (config.width + 1))

    @cached_property
    def grid(self) -> np.ndarray:
        """[per_pair] int: the offsets from a pair's first row of the rows that inherit its label."""
        width, prompts = self.config.width, self.config.prompts
        if self.config.rows == "grid":
            chosen, rejected = (i.ravel() + 1 for i in np.indices((width, width)))
            prompt = (chosen + rejected - 2) % width + 1
        else:
            chosen, rejected = (i.ravel()[1:] for i in np.indices((width + 1, width + 1)))
            prompt = (chosen + rejected) % (width + 1)
        return self.rows(np.zeros_like(chosen), chosen, rejected + width + 1, prompt if prompts else 0 * prompt)

    @property
    def per_pair(self) -> int:
        """The number of rows of each base pair that inherit its label."""
        return len(self.grid)

    def __len__(self) -> int:
        return self.shape[0] * self.per_pair

    @cached_property
    def copies(self) -> np.ndarray:
        """[N] int: the rows that are the base pairs themselves."""
        return self.rows(np.arange(self.shape[0]), 0, self.config.width + 1)

    def rows(
        self, parents: np.ndarray, chosen: np.ndarray | int, rejected: np.ndarray | int, prompts: np.ndarray | int = 0
    ) -> np.ndarray:
        """The rows with these parents and slots, which are broadcast against each other."""
        parts: Any = np.broadcast_arrays(parents, prompts, chosen, rejected)
        return np.ravel_multi_index(parts, self.shape)

    def address(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(parents, prompts, chosen, rejected) of `rows`, each of its shape; all but parents are slots."""
        return cast("tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]", np.unravel_index(rows, self.shape))

    def parents(self, rows: np.ndarray) -> np.ndarray:
        """[M] int: the base pair of each row."""
        return rows // int(np.prod(self.shape[1:]))

    def of_pairs(self, parents: np.ndarray) -> np.ndarray:
        """[len(parents), per_pair] int: the rows of these base pairs that inherit their labels."""
        return self.at(parents[:, None], np.arange(self.per_pair))

    def at(self, parents: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The rows at these places, from 0, among those of a base pair that inherit its label."""
        return parents.astype(np.int64) * int(np.prod(self.shape[1:])) + self.grid[places]

    def inherited(self) -> np.ndarray:
        """[N·per_pair] int: every row that inherits its label, pair by pair."""
        return self.of_pairs(np.arange(self.shape[0])).ravel()

    def inherits(self, rows: np.ndarray) -> np.ndarray:
        """[M] bool: whether each side of a row is of the same side of its parent, so that it inherits the label."""
        _, _, chosen, rejected = self.address(rows)
        return (chosen <= self.config.width) & (rejected > self.config.width)

    def swapped(self, rows: np.ndarray) -> np.ndarray:
        """The rows with chosen and rejected exchanged, in the shape of `rows`."""
        parents, prompts, chosen, rejected = self.address(rows)
        return self.rows(parents, rejected, chosen, prompts)

    def without_prompt(self, rows: np.ndarray) -> np.ndarray:
        """The rows with an empty prompt, which the released code trains on where it loses the prompt column."""
        parents, _, chosen, rejected = self.address(rows)
        return self.rows(parents, chosen, rejected, self.config.width + 1)

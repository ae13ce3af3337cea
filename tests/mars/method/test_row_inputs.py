"""A row's text numbers do not depend on how many rows are looked up at once."""

import numpy as np
from support.pool import Numbering, pairs

from mars.method.row_inputs import RowInputs
from mars.pool.pool import Pool
from mars.preferences.dialogue import Rendered
from mars.reward.texts import Texts, rendering


class Listed:
    """Inputs that number texts and keep nothing else."""

    def __init__(self) -> None:
        self.numbers: dict[Rendered, int] = {}

    def add(self, texts: list[Rendered]) -> np.ndarray:
        return np.array([self.numbers.setdefault(text, len(self.numbers)) for text in texts])


def test_rows_are_numbered_in_blocks() -> None:
    found = []
    for block in (1 << 19, 3):
        pool = Pool(pairs(10), Numbering())
        inputs = RowInputs(pool, Texts(Listed(), rendering("plain", None)), block=block)
        rows = np.concatenate([pool.copies, pool.inherited()[::7], pool.copies[:5]])
        found.append([inputs.numbers(pool.copies), inputs.numbers(rows)])
    for whole, parted in zip(*found, strict=True):
        np.testing.assert_array_equal(parted, whole)
    np.testing.assert_array_equal(whole[:10], np.arange(20).reshape(10, 2))

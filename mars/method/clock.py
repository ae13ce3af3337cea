"""Where each second of a round goes: one clock that every part of a round holds while it works.

A part inside another stops the outer one: an arm that asks for scores while it selects is charged for the selecting
alone. So the parts of a round add up, and none is counted twice. Work on a GPU is charged to the part that waits for
its numbers, which every part here does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# scoring: texts through the model because the arm asked. selection: the arm's own work, trials of it included. pool:
# variants made or found, and the gates. tokenising: texts to ids, or to features of a frozen encoder. validation: the
# held-out pairs. curvature: what the observer records. recording: checkpoints.
PARTS = ("scoring", "selection", "pool", "tokenising", "training", "validation", "curvature", "recording")
COLUMNS = tuple(f"seconds_{part}" for part in PARTS)  # of rounds.csv


class Clock:
    """Seconds by part since they were last read.

    with clock("pool"): … charges what is inside to the pool, but for the parts inside it.
    """

    def __init__(self) -> None:
        self._spent = dict.fromkeys(PARTS, 0.0)
        self._holding: list[str] = []  # the parts at work, the innermost last
        self._since = 0.0

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Inside, `part` (one of PARTS) is charged."""
        self._charge()
        self._holding.append(part)
        try:
            yield
        finally:
            self._charge()
            self._holding.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._holding:
            self._spent[self._holding[-1]] += now - self._since
        self._since = now

    def columns(self) -> dict[str, float]:
        """`COLUMNS` so far."""
        return dict(zip(COLUMNS, self._spent.values(), strict=True))

    def resume(self, columns: Mapping[str, float]) -> None:
        """Count on from `columns`, those of an earlier attempt at the round."""
        for part, column in zip(PARTS, COLUMNS, strict=True):
            self._spent[part] += columns[column]

    def restart(self) -> None:
        """Count from nothing: a new round."""
        self._spent = dict.fromkeys(PARTS, 0.0)

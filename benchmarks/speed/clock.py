"""The clock of every measurement, and two ways side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")


class Seconds(NamedTuple):
    """On the clock, and of all cores together."""

    clock: float
    cores: float

    def __str__(self) -> str:
        return f"{self.clock:.2f} s (of all cores {self.cores:.2f} s)"


def timed(work: Callable[[], T], repeats: int = 1) -> tuple[T, Seconds]:
    """What `work` returns, and the median over `repeats` of the seconds it takes."""
    spent = []
    for _ in range(repeats):
        began = time.perf_counter(), time.process_time()
        result = work()
        spent.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return result, Seconds(*map(statistics.median, zip(*spent, strict=True)))


Timed = Callable[[], tuple[np.ndarray, Seconds]]


def compare(ways: dict[str, Timed], amount: int, unit: str, repeats: int) -> None:
    """Prints how many `unit` the two `ways` do in a second, their ratio, and how far their results differ at most.

    The two take turns in one process, so that the ratio holds when the machine's speed drifts.
    """
    rounds = [[way() for way in ways.values()] for _ in range(repeats)]
    speeds = [
        statistics.median(amount / seconds.clock for _, seconds in column) for column in zip(*rounds, strict=True)
    ]
    ratio = statistics.median(slow[1].clock / fast[1].clock for fast, slow in rounds)
    difference = max(float(np.abs(fast[0] - slow[0]).max()) for fast, slow in rounds)
    said = ", ".join(f"{name} {speed:,.1f} {unit}/s" for name, speed in zip(ways, speeds, strict=True))
    print(f"{said}, ratio {ratio:.2f}; largest difference {difference:.1e}")

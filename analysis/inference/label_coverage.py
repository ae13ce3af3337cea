"""Do the intervals of `label_equivalence` hold the true number of labels 95 times in 100?

Simulated learning curves of two arms whose truth is known. The base pairs of a replicate are nested, so what a draw
brings at one size is a part of what it brings at the next; some of it both arms share. The true m is that of the
reference's true curve, straight over log n between the sizes, as a study of these sizes can know it.

    python -m benchmarks.speed coverage [--studies 4000]
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from analysis.inference.difference import Difference, difference_of_means
from analysis.inference.label_equivalence import equal_labels

SIZES = (50, 100, 200, 400, 800, 1600)
_TOP, _DROP, _DECAY = 0.8, 1.0, 0.5  # of the true curve: accuracy _TOP − _DROP / n^_DECAY


class Curves(NamedTuple):
    """worth: the arm with n labels is as good as the reference with worth·n. flat: the size beyond which more labels
    bring nothing. shared, own: sd at the smallest size of what a draw brings both arms alike, and each by itself.
    """

    worth: float
    flat: float
    shared: float
    own: float


WORLDS = {
    "no gain": Curves(1.0, math.inf, 0.03, 0.01),
    "worth 1.5 times the labels": Curves(1.5, math.inf, 0.03, 0.01),
    "worth twice, noisy": Curves(2.0, math.inf, 0.03, 0.03),
    "worth half, flat from 400 on": Curves(0.5, 400.0, 0.02, 0.01),
}
REPLICATES = (4, 8, 16)


def truths(world: Curves) -> tuple[np.ndarray, np.ndarray]:
    """[K] the true levels of the arm, and of the reference, at SIZES."""

    def level(labels: np.ndarray) -> np.ndarray:
        return np.asarray(_TOP - _DROP / np.minimum(labels, world.flat) ** _DECAY)

    sizes = np.array(SIZES, float)
    return level(world.worth * sizes), level(sizes)


def study(world: Curves, replicates: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """[K, R, 1] outcomes of the arm, and of the reference."""

    def drawn(sd: float) -> np.ndarray:
        steps = np.diff(SIZES, prepend=0)[:, None]
        total = np.cumsum(np.sqrt(steps) * rng.normal(size=(len(SIZES), replicates)), axis=0)
        return sd * math.sqrt(SIZES[0]) * total / np.array(SIZES)[:, None]

    shared = drawn(world.shared)
    ours, theirs = ((true[:, None] + shared + drawn(world.own))[:, :, None] for true in truths(world))
    return ours, theirs


def judge(cells: np.ndarray) -> Difference:
    """Of one number a replicate, [R, 1]."""
    return difference_of_means(cells[:, 0])


class Held(NamedTuple):
    """Of simulated studies: the share of intervals that hold the true m, and of those that end on both sides."""

    share: float
    closed: float


def coverage(world: Curves, replicates: int, studies: int, rng: np.random.Generator) -> Held:
    """Each study asks of one size, all in turn. A true m beyond the sizes is held by an interval open to that side."""
    held = closed = 0
    arm, reference = truths(world)
    for number in range(studies):
        place = number % len(SIZES)
        exact = equal_labels(
            np.full((2, 1), arm[place]), np.repeat(reference, 2).reshape(-1, 2, 1), SIZES, judge
        ).labels
        ours, theirs = study(world, replicates, rng)
        found = equal_labels(ours[place], theirs, SIZES, judge)
        held += found.lo <= exact <= found.hi
        closed += found.lo > 0 and found.hi < math.inf
    return Held(held / studies, closed / studies)


def report(studies: int, rng: np.random.Generator) -> None:
    print(f"\nlabels of one arm for those of another, {studies} studies a row: interval holds, ends on both sides")
    line = "| {:<30} | {:>10} | {:>8} | {:>6} |"
    print(line.format("curves", "replicates", "interval", "closed"))
    for named, world in WORLDS.items():
        for replicates in REPLICATES:
            found = coverage(world, replicates, studies, rng)
            print(line.format(named, replicates, *(f"{share:.3f}" for share in found)), flush=True)

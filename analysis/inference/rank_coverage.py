"""Do the intervals of `foretelling` hold the true rank correlation 95 times in 100?

Simulated studies of arms × replicates with two sides, such as accuracy and gold gain: arms that stay, replicates drawn
anew, which lean all arms of theirs one way on either side, and runs. The true ρ is that of MANY replicates.

    python -m benchmarks.speed coverage [--studies 4000]
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.inference.foretelling import centred, over_all, spearman, within


class Runs(NamedTuple):
    """Arms × replicates with two sides, such as accuracy and gold gain. Beside a run's own spread on either side, 1:

    arms: how far the arms lie apart, alike on both sides. replicate: sd of what a replicate adds to all its arms.
    of_replicates, of_runs: how these, and the runs' own parts, correlate between the two sides.
    """

    arms: float
    replicate: float
    of_replicates: float
    of_runs: float


RUNS = {
    "unrelated": Runs(0.0, 1.0, 0.0, 0.0),
    "lucky draws": Runs(0.0, 1.0, 0.9, 0.0),
    "runs agree": Runs(0.0, 1.0, 0.0, 0.6),
    "arms agree": Runs(2.0, 0.5, 0.5, 0.3),
    "arms agree, runs do not": Runs(0.5, 1.0, 0.8, -0.8),
}
SIZES = ((3, 3), (3, 5), (3, 8), (7, 8))  # arms, replicates
MANY = 20_000  # replicates that stand for all there could be


def runs(world: Runs, arms: int, replicates: int, rng: np.random.Generator) -> pd.DataFrame:
    """x and y by (arm, replicate)."""

    def both(correlation: float, *size: int) -> np.ndarray:
        drawn = rng.normal(size=(2, *size))
        return np.array([drawn[0], correlation * drawn[0] + math.sqrt(1 - correlation**2) * drawn[1]])

    at = world.arms * np.linspace(-1, 1, arms)[:, None]
    sides = at + world.replicate * both(world.of_replicates, 1, replicates) + both(world.of_runs, arms, replicates)
    index = pd.MultiIndex.from_product([range(arms), range(replicates)], names=["arm", "replicate"])
    return pd.DataFrame({"x": sides[0].ravel(), "y": sides[1].ravel()}, index=index)


class Ranked(NamedTuple):
    """Of simulated studies: the true ρ, the share of intervals that hold it, the share of p below ALPHA."""

    truth: float
    held: float
    found: float


def coverage(world: Runs, arms: int, replicates: int, studies: int, rng: np.random.Generator) -> tuple[Ranked, Ranked]:
    """Of the correlation within replicates, and of that over all runs."""
    ways, every = (within, over_all), runs(world, arms, MANY, rng)
    truths = [spearman(centred(every)), spearman(every)]
    held, found = np.zeros(2), np.zeros(2)
    for _ in range(studies):
        both = runs(world, arms, replicates, rng)
        for place, way in enumerate(ways):
            one = way(both)
            held[place] += one.lo <= truths[place] <= one.hi
            found[place] += one.p < stats.ALPHA
    of_within, of_all = (Ranked(*one) for one in zip(truths, held / studies, found / studies, strict=True))
    return of_within, of_all


def report(studies: int, rng: np.random.Generator) -> None:
    print(f"\nrank correlations over arms × replicates, {studies} studies a row: truth, interval holds, p < .05")
    line = "| {:<24} | {:>4} | {:>10} |" + " {:>6} | {:>8} | {:>6} |" * 2
    print(line.format("runs", "arms", "replicates", "within", "interval", "p", "all", "interval", "p"))
    for named, world in RUNS.items():
        for arms, replicates in SIZES:
            found = coverage(world, arms, replicates, studies, rng)
            print(line.format(named, arms, replicates, *(f"{share:.3f}" for one in found for share in one)), flush=True)

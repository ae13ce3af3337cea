"""Do the 95 % intervals hold the truth 95 times in 100, and do null studies stay without a "better"?

Simulated studies: each example has a difficulty, each arm its own view of the examples, each seed an effect of its own
and noise; a pair is right where their sum is positive. The worlds differ in how much seeds matter; in the first, seeds,
examples and noise vary about as much as between arms of this project's studies on HH-RLHF and planted rows. The true
difference is known in closed form.

    python -m benchmarks.speed coverage [--studies 4000]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from analysis.inference import stats
from analysis.inference.difference import (
    Difference,
    Draws,
    crossed_difference,
    equivalence_p,
    nested_difference,
)

REFERENCES = 9  # that one arm is compared with, as in experiment=matched
_PHI = NormalDist().cdf


class World(NamedTuple):
    """Standard deviations beside that of examples, which is 1: of a seed of an arm, of an arm's view, of noise."""

    seed: float
    view: float
    noise: float


WORLDS = {
    "as measured": World(0.005, 0.15, 0.2),
    "seeds matter": World(0.05, 0.2, 0.3),
    "seeds decide": World(0.15, 0.1, 0.3),
}
SIZES = ((5, 500), (5, 2000), (10, 200), (3, 500))  # seeds, examples
EASE = 0.5  # mean margin: 69 % are right


def study(world: World, shifts: np.ndarray, seeds: int, examples: int, rng: np.random.Generator) -> np.ndarray:
    """[A, S, E] correctness of arms whose mean margin is shifted by `shifts` [A]."""
    size = (len(shifts), seeds, examples)
    margins = EASE + shifts[:, None, None] + rng.normal(size=examples) + world.noise * rng.normal(size=size)
    margins += world.view * rng.normal(size=(len(shifts), 1, examples)) + world.seed * rng.normal(size=(*size[:2], 1))
    return (margins > 0).astype(float)


def truth(world: World, shift: float) -> float:
    """The accuracy an arm with `shift` has over all seeds and examples there could be."""
    return _PHI((EASE + shift) / (1 + sum(sd**2 for sd in world)) ** 0.5)


def coverage(world: World, seeds: int, examples: int, studies: int, rng: np.random.Generator) -> tuple[float, float]:
    """Shares of intervals and of bootstrap intervals that hold the true difference, which is 0 in every other study."""
    held = np.zeros(2)
    for number in range(studies):
        shift = 0.1 * (number % 2)
        right, other = study(world, np.array([shift, 0.0]), seeds, examples, rng)
        target = truth(world, shift) - truth(world, 0.0)
        found = crossed_difference(right - other)
        low, high = stats.bootstrap_intervals((right - other)[None], seed=number, resamples=400)[0]
        held += [found.lo <= target <= found.hi, low <= target <= high]
    return float(held[0]) / studies, float(held[1]) / studies


def false_verdicts(
    world: World, seeds: int, examples: int, studies: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Shares of null studies with a significant comparison in a family of REFERENCES: with Holm's p, without."""
    false = np.zeros(2)
    for _ in range(studies):
        ours, *others = study(world, np.zeros(REFERENCES + 1), seeds, examples, rng)
        p = np.array([crossed_difference(ours - other).p for other in others])
        false += [stats.holm(p).min() < stats.ALPHA, p.min() < stats.ALPHA]
    return float(false[0]) / studies, float(false[1]) / studies


# ---- three verdicts, over replicates that may be overlapping subsamples


class Design(NamedTuple):
    """A simulated study. overlap: share of a replicate's rows that another has too. own: pairs of each replicate's own.

    Standard deviations of one comparison's difference, in margins of equivalence: of a draw of the base pairs, of a
    training seed, of a pair's own effect (over its number of pairs), of the rest.
    """

    replicates: int
    seeds: int
    overlap: float = 0.0
    own: bool = True
    draw: float = 0.5
    seed: float = 0.5
    pairs: float = 0.2
    rest: float = 0.2


DESIGNS = {
    "8 draws, pairs of their own": Design(8, 1),
    "16 draws, pairs of their own": Design(16, 1),
    "16 draws, shared pairs": Design(16, 1, own=False),
    "12 subsamples that share 20 %, 2 seeds": Design(12, 2, 0.2, False),
    "12 subsamples that share 50 %, 2 seeds": Design(12, 2, 0.5, False),
    "12 subsamples that share 50 %, 1 seed": Design(12, 1, 0.5, False),
    "40 subsamples that share 20 %, 1 seed": Design(40, 1, 0.2, False),
}
EXAMPLES = 50  # cells a replicate: what pairs vary by is scaled to it
TRUTHS = (0.0, 0.0, 1.0, -1.0, 2.0, 0.5)  # of a family's comparisons in turn, in margins
FAMILY = 14  # seven arms against one by two endpoints
_ALIKE = 0.7  # correlation of the two endpoints


def differences(design: Design, truths: np.ndarray, rng: np.random.Generator) -> list[Difference]:
    """One study's comparisons, their truths `truths` [K] in margins of equivalence, the two of a pair correlated."""
    comparisons = len(truths)

    def normal(*shape: int) -> np.ndarray:
        """[K, …] in pairs of endpoints that go together."""
        drawn = rng.normal(size=(comparisons, *shape))
        drawn[1::2] = _ALIKE * drawn[0::2] + math.sqrt(1 - _ALIKE**2) * drawn[1::2]
        return drawn

    shared, own = math.sqrt(design.overlap) * normal(1), math.sqrt(1 - design.overlap) * normal(design.replicates)
    means = design.draw * (shared + own)[:, :, None] + design.seed * normal(design.replicates, design.seeds)
    cells = truths[:, None, None] + means.mean(axis=2)[:, :, None]
    cells = cells + design.rest * math.sqrt(EXAMPLES) * normal(design.replicates, EXAMPLES)
    cells += design.pairs * math.sqrt(EXAMPLES) * normal(*((design.replicates,) if design.own else (1,)), EXAMPLES)
    found = []
    for mean, table in zip(means, cells, strict=True):
        within = float(mean.var(axis=1, ddof=1).mean()) / design.seeds if design.seeds > 1 else 0.0
        draws = Draws(design.overlap, within, design.replicates * (design.seeds - 1))
        found.append(nested_difference(list(table), draws) if design.own else crossed_difference(table, draws))
    return found


class Shares(NamedTuple):
    """Of simulated studies or comparisons. held: intervals that hold the truth. false: studies with any false verdict.

    Of comparisons without a difference, equivalent: declared so; of those two margins apart, different.
    """

    held: float
    false: float
    equivalent: float
    different: float


def verdicts(design: Design, studies: int, rng: np.random.Generator) -> Shares:
    """What a study of FAMILY comparisons declares, adjusted as `comparisons.compare` does."""
    truths = np.resize(np.repeat(TRUTHS, 2), FAMILY)
    level = stats.ALPHA / FAMILY
    held, false, equal, unequal = 0, 0, 0, 0
    for _ in range(studies):
        wrong = False
        for truth_, found in zip(truths, differences(design, truths, rng), strict=True):
            held += found.lo <= truth_ <= found.hi
            different = found.p < level
            alike = not different and equivalence_p(found.difference, found.spread, 1.0) < level
            wrong |= different and truth_ * found.difference <= 0
            wrong |= alike and abs(truth_) >= 1
            equal += alike and truth_ == 0
            unequal += different and abs(truth_) == 2
        false += wrong
    counts = studies * (truths == 0).sum(), studies * (np.abs(truths) == 2).sum()
    return Shares(held / studies / FAMILY, false / studies, equal / counts[0], unequal / counts[1])


def over_seeds(seeds: int, studies: int, rng: np.random.Generator, draw: Callable[..., np.ndarray]) -> float:
    """Share of `mean_interval`s over `draw` of so many seeds that hold its mean, 0."""
    found = [stats.mean_interval(draw(size=seeds)) for _ in range(studies)]
    return float(np.mean([interval.lo <= 0 <= interval.hi for interval in found]))


def main(studies: int = 4000) -> None:
    rng = np.random.default_rng(0)
    line = "| {:<12} | {:>5} | {:>8} | {:>8} | {:>9} | {:>11} | {:>10} |"
    print(f"{studies} studies a row; a share of .95 has a standard error of {(0.05 * 0.95 / studies) ** 0.5:.4f}")
    print(line.format("world", "seeds", "examples", "interval", "bootstrap", "false, Holm", "unadjusted"))
    for name, world in WORLDS.items():
        for seeds, examples in SIZES:
            held = coverage(world, seeds, examples, studies, rng)
            false = false_verdicts(world, seeds, examples, studies // 4, rng)
            print(line.format(name, seeds, examples, *(f"{share:.3f}" for share in (*held, *false))), flush=True)
    print(f"\nfamilies of {FAMILY} comparisons, {studies // 2} studies a row; truths in margins: {TRUTHS}")
    line = "| {:<40} | {:>8} | {:>13} | {:>14} | {:>12} |"
    print(line.format("design", "interval", "false verdict", "equivalent at 0", "found at 2"))
    for named, design in DESIGNS.items():
        shares = verdicts(design, studies // 2, rng)
        print(line.format(named, *(f"{share:.3f}" for share in shares)), flush=True)
    for seeds in (3, 5, 10):
        print(f"mean over {seeds} seeds: {over_seeds(seeds, studies, rng, rng.normal):.3f}")

"""Do the 95 % intervals hold the truth 95 times in 100, and do null studies stay without a "better"?

Simulated studies: each example has a difficulty, each arm its own view of the examples, each seed an effect of its own
and noise; a pair is right where their sum is positive. The worlds differ in how much seeds matter; in the first, seeds,
examples and noise vary about as much as between arms of this project's studies on HH-RLHF and planted rows. The true
difference is known in closed form.

    python -m benchmarks.speed coverage [--studies 4000]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from analysis.inference import label_coverage, rank_coverage, stats
from analysis.inference.difference import (
    Difference,
    Draws,
    crossed_difference,
    equivalence_p,
    nested_difference,
)
from analysis.inference.sequential import STUDENT, levels, one_sided_levels

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


class Setup(NamedTuple):
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
    "8 draws, pairs of their own": Setup(8, 1),
    "16 draws, pairs of their own": Setup(16, 1),
    "16 draws, shared pairs": Setup(16, 1, own=False),
    "12 subsamples that share 20 %, 2 seeds": Setup(12, 2, 0.2, False),
    "12 subsamples that share 50 %, 2 seeds": Setup(12, 2, 0.5, False),
    "12 subsamples that share 50 %, 1 seed": Setup(12, 1, 0.5, False),
    "40 subsamples that share 20 %, 1 seed": Setup(40, 1, 0.2, False),
}
EXAMPLES = 50  # cells a replicate: what pairs vary by is scaled to it
TRUTHS = (0.0, 0.0, 1.0, -1.0, 2.0, 0.5)  # of a family's comparisons in turn, in margins
FAMILY = 14  # seven arms against one by two endpoints
_ALIKE = 0.7  # correlation of the two endpoints


class Simulated(NamedTuple):
    """One study. means: [K comparisons, R replicates, S seeds] of the models; cells: [K, R, E] with what pairs add."""

    means: np.ndarray
    cells: np.ndarray

    def found(self, design: Setup, replicates: int) -> list[Difference]:
        """The comparisons on the first so many replicates."""
        return [_found(design, m[:replicates], c[:replicates]) for m, c in zip(self.means, self.cells, strict=True)]


def simulated(design: Setup, truths: np.ndarray, rng: np.random.Generator) -> Simulated:
    """A study whose comparisons differ by `truths` [K], in margins of equivalence; the two of a pair are correlated."""

    def normal(*shape: int) -> np.ndarray:
        """[K, …] in pairs of endpoints that go together."""
        drawn = rng.normal(size=(len(truths), *shape))
        drawn[1::2] = _ALIKE * drawn[0::2] + math.sqrt(1 - _ALIKE**2) * drawn[1::2]
        return drawn

    size = design.replicates
    drawn = math.sqrt(design.overlap) * normal(1) + math.sqrt(1 - design.overlap) * normal(size)
    means = design.draw * drawn[:, :, None] + design.seed * normal(size, design.seeds)
    cells = (truths[:, None] + means.mean(axis=2))[:, :, None] + design.rest * math.sqrt(EXAMPLES) * normal(
        size, EXAMPLES
    )
    pairs = normal(size, EXAMPLES) if design.own else normal(1, EXAMPLES)
    return Simulated(means, cells + design.pairs * math.sqrt(EXAMPLES) * pairs)


def _found(design: Setup, means: np.ndarray, cells: np.ndarray) -> Difference:
    several = design.seeds > 1
    within = float(means.var(axis=1, ddof=1).mean()) / design.seeds if several else 0.0
    draws = Draws(design.overlap, within, len(means) * (design.seeds - 1))
    return nested_difference(list(cells), draws) if design.own else crossed_difference(cells, draws)


class Shares(NamedTuple):
    """Of simulated studies or comparisons. held: intervals that hold the truth. false: studies with any false verdict.

    Of comparisons without a difference, equivalent: declared so; of those two margins apart, different.
    """

    held: float
    false: float
    equivalent: float
    different: float


def verdicts(design: Setup, studies: int, rng: np.random.Generator) -> Shares:
    """What a study of FAMILY comparisons declares, adjusted as `comparisons.compare` does."""
    level = stats.ALPHA / FAMILY
    return _shares(studies, rng, design, [(design.replicates, level, level)])


def looks(design: Setup, batch: int, studies: int, rng: np.random.Generator) -> Shares:
    """The same of a study that is looked at after every `batch` replicates, by the rule of `analysis.settle`.

    Nothing is given up, which could only lower the share of false verdicts. held: at the last look.
    """
    fractions = [n / design.replicates for n in range(batch, design.replicates + 1, batch)]
    alpha = STUDENT * stats.ALPHA / FAMILY
    different, equal = levels(fractions, alpha), one_sided_levels(fractions, alpha)
    sizes = (round(fraction * design.replicates) for fraction in fractions)
    return _shares(studies, rng, design, list(zip(sizes, different, equal, strict=True)))


def _shares(studies: int, rng: np.random.Generator, design: Setup, rule: Sequence[tuple[int, float, float]]) -> Shares:
    """rule: at each look its replicates, and the levels of a difference and of equivalence."""
    truths = np.resize(np.repeat(TRUTHS, 2), FAMILY)
    held = false = 0
    equal, unequal = np.zeros(FAMILY), np.zeros(FAMILY)
    for _ in range(studies):
        study, said = simulated(design, truths, rng), np.zeros(FAMILY, dtype=int)  # 0 open, ±1 different, 2 equivalent
        for replicates, different, equivalent in rule:
            found = study.found(design, replicates)
            for place in np.flatnonzero(said == 0):
                one = found[place]
                if one.p <= different:
                    said[place] = 1 if one.difference > 0 else -1
                elif equivalence_p(one.difference, one.spread, 1.0) <= equivalent:
                    said[place] = 2
        held += sum(one.lo <= truth <= one.hi for one, truth in zip(found, truths, strict=True))
        wrong = (np.abs(said) == 1) & (said * truths <= 0) | (said == 2) & (np.abs(truths) >= 1)
        false += bool(wrong.any())
        equal += said == 2
        unequal += np.abs(said) == 1
    at_zero, at_two = equal[truths == 0].mean() / studies, unequal[np.abs(truths) == 2].mean() / studies
    return Shares(held / studies / FAMILY, false / studies, float(at_zero), float(at_two))


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
    for own, named in ((True, "pairs of their own"), (False, "shared pairs")):
        shares = looks(Setup(40, 1, own=own), 4, studies // 2, rng)
        print(line.format(f"ten looks up to 40 draws, {named}", *(f"{share:.3f}" for share in shares)), flush=True)
    for seeds in (3, 5, 10):
        print(f"mean over {seeds} seeds: {over_seeds(seeds, studies, rng, rng.normal):.3f}")
    rank_coverage.report(studies // 4, rng)
    label_coverage.report(studies // 8, rng)

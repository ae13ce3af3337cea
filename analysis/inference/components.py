"""What the variance of a mean difference is made of, and what more replicates or more test pairs would make of it.

A difference is uncertain for several reasons at once, and each has its own cure: another draw of the base pairs or
another seed is averaged out by replicates, test pairs by a larger test set, and what overlapping subsamples share by
none of them. The parts come from the mean squares of a `Spread` (the method of moments); how they were estimated and
what cannot be told apart is said at `Components`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from analysis.inference.difference import Spread


class Components(NamedTuple):
    """Parts of the variance of a mean difference, in the square of its unit; each ≥ 0, and they sum to the variance.

    draws: of the base pairs, averaged over replicates; with the seeds unless `seeds_apart`. overlap: what the draws
    have in common, in every replicate alike. seeds: of training; 0 unless apart. pairs: what a test pair does in every
    replicate alike. rest: pair × replicate, and all that pairs do where each replicate has pairs of its own (a spread
    by `power.of_differences`).
    """

    draws: float
    overlap: float
    seeds: float
    pairs: float
    rest: float
    seeds_apart: bool

    @property
    def variance(self) -> float:
        """Their sum."""
        return self.draws + self.overlap + self.seeds + self.pairs + self.rest


def components(spread: Spread) -> Components:
    """The parts of `spread.variance()`, by the method of moments.

    A component of replicates or of pairs whose estimate is negative counts as 0, and the rest is what then remains of
    the variance, which is never negative. Seeds have at most what replicates differ by, and draws what seeds leave.
    """
    cells = spread.replicates * spread.examples
    replicates = max(0.0, spread.between_replicates - spread.rest) / cells
    pairs = max(0.0, spread.between_examples - spread.rest) / cells
    overlap = spread._replace(between_examples=0.0).fixed
    apart = spread.draws.within_df > 0
    of_seeds = max(0.0, spread.draws.within - spread.draws.within_rest) / spread.replicates if apart else 0.0
    seeds = min(of_seeds, replicates)
    rest = max(0.0, float(spread.variance()) - overlap - replicates - pairs)
    return Components(replicates - seeds, overlap, seeds, pairs, rest, apart)


def se_with(spread: Spread, replicates: int | None = None, examples: int | None = None) -> float:
    """The standard error of the mean difference with other numbers of replicates or examples, in its own unit.

    Predicted from `components` for replicates with as many seeds, and as large a share of base pairs in common.
    """
    parts = components(spread)
    fewer, less = (
        now / (now if asked is None else asked)
        for now, asked in ((spread.replicates, replicates), (spread.examples, examples))
    )
    share = spread.draws.overlap
    lasting = min(parts.overlap, parts.draws * spread.replicates * share / (1 - share))  # the rest is draw × pair
    overlap = lasting + (parts.overlap - lasting) * less
    return math.sqrt((parts.draws + parts.seeds + parts.rest * less) * fewer + parts.pairs * less + overlap)

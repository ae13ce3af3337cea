"""What a study that is there could have found, and what would settle a comparison that it leaves open.

With 80 % power, and taking the study's estimate and spread for the truth: `analysis.inference.power` is for the study
that is still to be planned. More replicates are named first. Where they do not help, because the test examples or the
base pairs that replicates share leave too much uncertain, it is a study with more of those.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from analysis.inference.difference import FRESH, Spread, chi2_quantiles, half_width
from analysis.inference.power import MOST
from analysis.inference.stats import ALPHA, POWER
from benchmarks.metrics import solve

_NORMAL = NormalDist()


def detectable(spread: Spread | None, level: float = ALPHA) -> float:
    """The true difference that would be found at `level` with 80 % power, with as many replicates and examples.

    Found is an estimate, normal about the truth, farther from 0 than `half_width`, which itself varies with the mean
    square between replicates that a study happens to see. NaN without a spread.
    """
    if spread is None:
        return math.nan
    seen = spread.between_replicates * chi2_quantiles(spread.replicates - 1)
    widths = [half_width(spread._replace(between_replicates=square), level) for square in seen]
    se = spread.se
    return se * solve(lambda shift: float(np.mean([_NORMAL.cdf(shift - width / se) for width in widths])), POWER)


def more_replicates(mean: float, spread: Spread | None, margin: float, level: float) -> float:
    """About how many replicates beside those there are would settle it with 80 % power, if the truth is the estimate.

    Settled is: different from 0, or equivalent within ± margin, whichever takes fewer; `level` is that of each test.
    Infinite where the examples, or the rows that the draws share, leave more uncertain than that.
    """
    if spread is None:
        return math.nan
    room = _settling_se(mean, margin, level) ** 2 - spread.fixed
    fewest = spread.between_replicates / spread.examples / room if room > 0 else math.inf
    fewest += _NORMAL.inv_cdf(level / 2) ** 2 / 2  # what Student's t takes beyond the normal (Guenther 1981)
    return max(1.0, math.ceil(fewest - spread.replicates)) if fewest < MOST else math.inf


class Larger(NamedTuple):
    """A study that would settle what no number of replicates of this one does.

    replicates: in all. examples: that all replicates share. overlap: of two replicates' base pairs. NaN where those
    there are will do.
    """

    replicates: float = math.nan
    examples: float = math.nan
    overlap: float = math.nan


def larger_study(mean: float, spread: Spread | None, margin: float, level: float) -> Larger:
    """About the study that would settle it, where `more_replicates` is infinite.

    Of the variance that the verdict leaves room for, what the test examples leave gets a third at most, what draws have
    in common a third at most, and replicates average out the rest.
    """
    if spread is None or not math.isinf(more_replicates(mean, spread, margin, level)):
        return Larger()
    room = _settling_se(mean, margin, level) ** 2
    of_examples = spread._replace(draws=FRESH).fixed
    of_overlap = spread.fixed - of_examples
    observed, overlap = spread.between_replicates / spread.examples, spread.draws.overlap
    fresh = of_overlap / overlap if overlap else 0.0  # variance of draws that have nothing in common
    larger = Larger(
        examples=math.ceil(3 * spread.examples * of_examples / room) if of_examples > room / 3 else math.nan,
        overlap=room / (3 * fresh) if of_overlap > room / 3 else math.nan,
    )
    rest = room - min(of_examples, room / 3) - min(of_overlap, room / 3)
    replicates = (observed + of_overlap) / rest + _NORMAL.inv_cdf(level / 2) ** 2 / 2  # as in `more_replicates`
    return larger._replace(replicates=math.ceil(replicates))


def _settling_se(mean: float, margin: float, level: float) -> float:
    """The largest standard error at which one of the two tests finds its verdict with 80 % power; truth: `mean`."""
    size, two_sided, one_sided = abs(mean), -_NORMAL.inv_cdf(level / 2), -_NORMAL.inv_cdf(level)

    def power(precision: float) -> float:
        different = _NORMAL.cdf(size * precision - two_sided)
        inside = (_NORMAL.cdf((margin + end * size) * precision - one_sided) for end in (-1, 1))
        return max(different, sum(inside) - 1)

    return 1 / solve(power, POWER)

"""Power before the run: how many replicates find a difference of a given size, or show that there is none so large.

A replicate's difference on n test pairs varies by a part that belongs to the replicate, one to the pairs that all
replicates share, and one to a replicate's own pairs, or to the two together. A pilot's `Spread` has the three as mean
squares, so it says what another number of replicates or of pairs would leave. What is planned is the study's own p
(`analysis.inference.difference`), with what few replicates leave uncertain, and not its normal limit.

    spread = of_differences([on_pairs_of_replicate_0, on_pairs_of_replicate_1, …], own_rows=True)
    replicates_needed(DIFFERENCE, spread, examples=4000, size=0.01, level=0.05 / 12)
    looked_at(DIFFERENCE, spread, examples=4000, size=0.01, level=0.05 / 12).most

The spread is taken as known. Of a pilot of few replicates it is not: `cautious` is the one that it may well be.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from analysis.inference.difference import FRESH, Draws, Spread, chi2_quantiles, crossed_difference, half_width
from analysis.inference.sequential import STUDENT, power
from analysis.inference.stats import POWER
from benchmarks.metrics import solve

LOOKS = 10
MOST = 1_000_000  # replicates that are still called a number
_EXACT = 300  # replicates: above, a mean square is as good as known, and p as good as normal
_DRAWS = 17  # of what a mean square may come out as
_NORMAL = NormalDist()


class Question(NamedTuple):
    """What a study is to answer with 80 % power.

    power: of (spread, size, level). drift: size / se at which it is 80 % where se is known, of the level. crossed: how
    probably a study with LOOKS looks has ended by one of them, of (level, look counted from 1, drift).
    """

    power: Callable[[Spread, float, float], float]
    drift: Callable[[float], float]
    crossed: Callable[[float, int, float], float]


class Looked(NamedTuple):
    """A study with evenly spaced looks: replicates at most, a multiple of the looks, and how many are expected."""

    most: float
    expected: float


def of_differences(differences: Sequence[np.ndarray], own_rows: bool, draws: Draws = FRESH) -> Spread | None:
    """The spread of arm − reference, [E_r] on the examples of each of R replicates; None where there is none to see.

    own_rows: replicates have examples of their own, in number about alike. Then no part of it is shared, and the mean
    square of examples within replicates stands for both others, so that the mean's variance is as `nested_difference`
    has it and the examples' part can be told.
    """
    if not own_rows:
        return crossed_difference(np.array(differences), draws).spread
    if len(differences) < 2:
        return None
    examples = round(float(np.mean([len(own) for own in differences])))
    between = examples * float(np.var([own.mean() for own in differences], ddof=1))
    within = float(np.mean([np.var(own, ddof=1) for own in differences]))
    spread = Spread(len(differences), examples, between, within, within, draws)
    return spread if spread.se > 0 else None


def predicted(spread: Spread, replicates: int, examples: int) -> Spread:
    """The spread as a study of other numbers of replicates and test examples would show it on average."""
    of_replicate = max(0.0, spread.between_replicates - spread.rest) / spread.examples
    of_example = max(0.0, spread.between_examples - spread.rest) / spread.replicates
    between = spread.rest + examples * of_replicate
    draws = spread.draws
    if draws.within_df:  # as many seeds a replicate, so as many degrees of freedom for each
        drawn = max(0.0, spread.between_replicates / spread.examples - draws.within)
        within = max(0.0, between / examples - drawn)
        draws = draws._replace(within=within, within_df=max(1, round(draws.within_df * replicates / spread.replicates)))
    return Spread(replicates, examples, between, spread.rest + replicates * of_example, spread.rest, draws)


def replicate_sd(spread: Spread) -> float:
    """Standard deviation of one replicate's difference on its test examples; what draws overlap by is not counted."""
    return predicted(spread._replace(draws=FRESH), 1, spread.examples).se


def examples_share(spread: Spread) -> float:
    """How much of `replicate_sd`, squared, more test examples would take away."""
    one = predicted(spread._replace(draws=FRESH), 1, spread.examples)
    return one.between_examples / spread.examples / float(one.variance())


def understated(replicates: int) -> float:
    """How many times as large as a pilot's the true standard deviation may be, with 80 % confidence: √(df/χ²)."""
    return float(1 / math.sqrt(np.quantile(chi2_quantiles(replicates - 1, 1000), 1 - 0.8)))


def cautious(spread: Spread) -> Spread:
    """The spread with the mean square between its replicates as large as it may well be (`understated`).

    Few replicates on few examples may show no part of their own at all; on more examples that part is what counts.
    """
    return spread._replace(between_replicates=spread.between_replicates * understated(spread.replicates) ** 2)


# ---- power


def difference_power(spread: Spread, size: float, level: float) -> float:
    """How probably a true difference of `size` is found: two-sided p ≤ `level`, in a study with this spread."""
    se = spread.se
    return float(np.mean([_NORMAL.cdf((size - width) / se) for width in _widths(spread, level)]))


def equivalence_power(spread: Spread, size: float, level: float) -> float:
    """How probably arms that do not differ are shown to be equivalent within ± `size`: `equivalence_p` ≤ `level`."""
    se = spread.se
    inside = (max(0.0, size - width) / se for width in _widths(spread, 2 * level))
    return float(np.mean([2 * _NORMAL.cdf(distance) - 1 for distance in inside]))


def _widths(spread: Spread, level: float) -> list[float]:
    """Half widths at `level` that studies with this spread see, as their mean square between replicates varies."""
    if spread.replicates > _EXACT:
        return [-_NORMAL.inv_cdf(level / 2) * spread.se]
    widths = [0.0]
    for square in spread.between_replicates * chi2_quantiles(spread.replicates - 1, _DRAWS):  # ascending, as widths are
        widths.append(half_width(spread._replace(between_replicates=float(square)), level, widths[-1]))
    return widths[1:]


@functools.cache
def replicates_needed(question: Question, spread: Spread, examples: int, size: float, level: float) -> float:
    """The fewest replicates, two or more, with 80 % power for `size` at `level` on so many test examples.

    question: DIFFERENCE or EQUIVALENCE. size: as the spread, a share of pairs or bits a pair. Infinite
    where the examples that replicates share, or base pairs drawn twice, leave more uncertain than that.
    """
    least = _replicates_of_se(spread, examples, size / question.drift(level))
    if least > _EXACT:
        return math.ceil(least) if least < MOST else math.inf
    high, step = max(2, math.ceil(least)), 1
    low = high - 1  # fewer do not do even where se is known
    while question.power(predicted(spread, high, examples), size, level) < POWER:
        low, high, step = high, high + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        enough = question.power(predicted(spread, middle, examples), size, level) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def _replicates_of_se(spread: Spread, examples: int, se: float) -> float:
    """Replicates, a broken number, at which the mean's standard error is `se`."""
    one = predicted(spread, 1, examples)
    room = se**2 - one.fixed
    return (float(one.variance()) - one.fixed) / room if room > 0 else math.inf


# ---- looking while it grows


def looked_at(question: Question, spread: Spread, examples: int, size: float, level: float) -> Looked:
    """The same study with LOOKS looks after batches of two replicates or more, as `until=settled` has it.

    expected: if a true difference is of `size`, or for equivalence if there is none. The score is taken as Brownian
    motion over the replicates; what p's few degrees of freedom cost is taken from the study without looks. Equivalence
    is two one-sided tests that stop together: the chance that both have crossed is at least 2·(chance of one) − 1.
    """
    needed = replicates_needed(question, spread, examples, size, level)
    known = _replicates_of_se(spread, examples, size / question.drift(level))
    drift = solve(lambda trend: question.crossed(level, LOOKS, trend), POWER)
    most = _replicates_of_se(spread, examples, size / drift) * needed / known if math.isfinite(needed) else math.inf
    if most > MOST:
        return Looked(math.inf, math.inf)
    batch = max(2, math.ceil(most / LOOKS))
    faster = drift * math.sqrt(batch * LOOKS / most)
    going = [1.0, *(1 - question.crossed(level, look, faster) for look in range(1, LOOKS))]
    return Looked(batch * LOOKS, batch * sum(going))


def _found(level: float, look: int, drift: float) -> float:
    return power(_fractions(look), STUDENT * level, drift)


def _both_found(level: float, look: int, drift: float) -> float:
    return max(0.0, 2 * power(_fractions(look), 2 * STUDENT * level, drift) - 1)


def _fractions(look: int) -> list[float]:
    return [number / LOOKS for number in range(1, look + 1)]


DIFFERENCE = Question(difference_power, lambda level: _NORMAL.inv_cdf(POWER) - _NORMAL.inv_cdf(level / 2), _found)
EQUIVALENCE = Question(
    equivalence_power, lambda level: _NORMAL.inv_cdf((1 + POWER) / 2) - _NORMAL.inv_cdf(level), _both_found
)

"""arm − reference over replicates and examples: interval and two tests.

A *replicate* is one fresh draw of all that is random and not the arm; in a study of one draw of the base pairs it is a
training seed. Arms share replicates and examples, so a difference is a table of replicates × examples with a part that
belongs to the replicate, one to the example and a rest: two crossed random factors. `crossed_difference` estimates them
from mean squares and carries what a few replicates leave uncertain into interval and p. Where each replicate has test
examples of its own, examples are nested in replicates, and `nested_difference` takes one number a replicate.

Base pairs that are scarce are drawn as subsamples, which overlap: n of N pairs, so that two replicates have a share
n/N of a replicate's pairs in common and lean the same way. Then the replicates differ by less than new draws from where
the N pairs came from would, and their mean varies by more (`Draws`; Nadeau & Bengio 2003 have the case of one seed).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from analysis.inference.stats import ALPHA, FEWEST, erfc

_NORMAL = NormalDist()


class Draws(NamedTuple):
    """How a study's replicates hang together.

    overlap: share of a replicate's base pairs that another replicate has too; n/N for subsamples, 0 for fresh draws.
    within: variance of a replicate's mean that its training seeds leave, and `within_df` its degrees of freedom, 0 with
    one seed a replicate. Then all that replicates differ by counts as drawn, which errs on the wide side.
    within_rest: the part of `within` that seeds × examples leave, so that more examples lessen it; 0 where unknown.
    """

    overlap: float = 0.0
    within: float = 0.0
    within_df: int = 0
    within_rest: float = 0.0


FRESH = Draws()


class Spread(NamedTuple):
    """Mean squares of a table [R replicates, E examples]: between replicates, between examples, of the rest."""

    replicates: int
    examples: int
    between_replicates: float
    between_examples: float
    rest: float
    draws: Draws = FRESH

    def variance(self, share: np.ndarray | float = 1.0, within: np.ndarray | float = 1.0) -> np.ndarray:
        """Variance of the table's mean for new replicates and new examples, as estimated.

        share, within: what χ²/df the mean squares between replicates and within them are divided by.
        """
        between = self.between_replicates / share
        total = np.maximum(between + self.between_examples - self.rest, self.rest)
        return total / (self.replicates * self.examples) + self._shared(between, within)

    def _shared(self, between: np.ndarray | float, within: np.ndarray | float) -> np.ndarray:
        """What overlapping draws add: it is the same in every replicate, so no number of them averages it out."""
        if not self.draws.overlap:
            return np.zeros_like(between)
        drawn = np.maximum(between / self.examples - self.draws.within / within, 0.0)
        return drawn * self.draws.overlap / (1 - self.draws.overlap)

    @property
    def se(self) -> float:
        """Standard error of the table's mean, as estimated."""
        return math.sqrt(float(self.variance()))

    @property
    def fixed(self) -> float:
        """The part of the mean's variance that more replicates leave as it is: the examples', and what draws share."""
        examples = max(0.0, self.between_examples - self.rest) / (self.replicates * self.examples)
        return examples + float(self._shared(self.between_replicates, 1.0))


class Difference(NamedTuple):
    """arm − reference with its 95 % interval and two-sided p.

    Both are missing where there is no spread to judge it by: with a single replicate, fewer than FEWEST examples, or
    arms that differ nowhere or by the same everywhere.
    """

    difference: float
    lo: float = math.nan
    hi: float = math.nan
    p: float = math.nan
    spread: Spread | None = None


def crossed_difference(cells: np.ndarray, draws: Draws = FRESH) -> Difference:
    """Mean of `cells` [R replicates, E examples], arm − reference, for new replicates and new examples.

    A cell is one example's outcome, mean over the seeds of its replicate. With two or three replicates the interval is
    wide, as it should be.
    """
    if cells.shape[0] < 2 or cells.shape[1] < FEWEST:
        return Difference(float(cells.mean()))
    return _judged(float(cells.mean()), _mean_squares(cells)._replace(draws=draws))


def nested_difference(differences: Sequence[np.ndarray], draws: Draws = FRESH) -> Difference:
    """Mean of arm − reference where every replicate has examples of its own: [E_r] differences of each of R replicates.

    Examples are nested in replicates, so a replicate is one draw of a model *and* of what it is judged on, and its mean
    is the one number that is independent of the others'. The means weigh alike; interval and p are Student's t over
    them, for new replicates with new examples. What examples vary by is in the spread between replicates already, and
    is not counted twice.
    """
    means = np.array([float(np.mean(own)) for own in differences])
    if min(map(len, differences)) < FEWEST:
        return Difference(float(means.mean()))
    return difference_of_means(means, draws)


def difference_of_means(means: np.ndarray, draws: Draws = FRESH) -> Difference:
    """Mean of one number a replicate, [R], each with examples enough of its own: Student's t over them."""
    if len(means) < 2:
        return Difference(float(means.mean()))
    return _judged(float(means.mean()), _mean_squares(means[:, None])._replace(draws=draws))


def _judged(mean: float, spread: Spread) -> Difference:
    if spread.se == 0:  # the arms do the same, or differ by the same everywhere: there is nothing to judge that by
        return Difference(mean)
    half = half_width(spread)
    return Difference(mean, mean - half, mean + half, p_value(mean, spread), spread)


def _mean_squares(cells: np.ndarray) -> Spread:
    """Of [R, 1] cells, one a replicate, all of it is between replicates."""
    replicates, examples = cells.shape
    of_replicate, of_example = cells.mean(axis=1), cells.mean(axis=0)
    rest = cells - of_replicate[:, None] - of_example + cells.mean()
    squares = [
        examples * of_replicate.var(ddof=1),
        replicates * of_example.var(ddof=1) if examples > 1 else 0.0,
        np.sum(rest**2) / ((replicates - 1) * max(1, examples - 1)),
    ]
    rounding = 1e-24 * max(1.0, float(np.abs(cells).max())) ** 2
    between, of_examples, left = (float(square) if square > rounding else 0.0 for square in squares)
    return Spread(replicates, examples, between, of_examples, left)


# ---- tests


def p_value(mean: float, spread: Spread) -> float:
    """Two-sided p of no difference: P(|Z|·se > |mean|), averaged over what se may be.

    The mean square between a few replicates says little, so it is not plugged in: in its generalised pivot
    (Weerahandi 1993; Hannig, Iyer & Patterson 2006) it is divided by χ²/df with R − 1 degrees of freedom, and the one
    within replicates likewise. The other two rest on hundreds of examples and stand as they are. Satterthwaite's t,
    which plugs in, is right at 95 % and too sure of itself in the tails that a family of tests needs.
    """
    se, weights = _possible(spread)
    return float(weights @ _two_tails(abs(mean), se))


def equivalence_p(mean: float, spread: Spread | None, margin: float) -> float:
    """p of a difference of at least `margin` either way: the larger of the two one-sided tests' (Schuirmann 1987).

    Where it is small the arms are equivalent within ± margin. NaN without a spread, as for arms that do the same.
    """
    if spread is None:
        return math.nan
    se, weights = _possible(spread)
    inside = margin - abs(mean)
    beyond = float(weights @ _two_tails(abs(inside), se)) / 2
    return beyond if inside >= 0 else 1 - beyond


def _possible(spread: Spread) -> tuple[np.ndarray, np.ndarray]:
    """What the standard error may be, and how probably."""
    share, weights = _scaled_chi2(spread.replicates - 1)
    within = np.ones(1)
    if spread.draws.overlap and spread.draws.within_df:
        within = chi2_quantiles(spread.draws.within_df)
    variance = spread.variance(share[:, None], within)
    return np.sqrt(variance).ravel(), np.repeat(weights, len(within)) / len(within)


@functools.cache
def _scaled_chi2(df: int, nodes: int = 129) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of χ²/df, on a grid even in its logarithm."""
    log_share = np.linspace(-60 / df - 3, math.log(1 + 12 / math.sqrt(df) + 60 / df), nodes)
    log_density = df / 2 * (log_share - np.exp(log_share))
    weights = np.exp(log_density - log_density.max())
    return np.exp(log_share), weights / weights.sum()


@functools.cache
def chi2_quantiles(df: int, number: int = 9) -> np.ndarray:
    """`number` equally likely values of χ²/df."""
    shares, weights = _scaled_chi2(df)
    return np.interp((np.arange(number) + 0.5) / number, np.cumsum(weights) - weights / 2, shares)


def _two_tails(distance: float, se: np.ndarray) -> np.ndarray:
    """P(|Z|·se > distance), and of what does not vary at all: 1 at no distance, else 0."""
    if distance == 0:
        return np.ones_like(se)
    with np.errstate(divide="ignore"):
        return erfc(distance / (se * math.sqrt(2)))


def half_width(spread: Spread, level: float = ALPHA, least: float = 0.0) -> float:
    """How far from the mean `p_value` falls to `level`: by Newton's method, from where it is too near.

    p is convex in the distance, so that no step goes too far. least: a distance that is known to be too near.
    """
    se, weights = _possible(spread)
    distance, step = max(least, _NORMAL.inv_cdf(1 - level / 2) * float(se.min())), math.inf
    while step > 1e-12 * distance:
        slope = 2 * weights @ (np.exp(-0.5 * (distance / se) ** 2) / se) / math.sqrt(2 * math.pi)
        step = float((weights @ _two_tails(distance, se) - level) / slope)
        distance += step
    return distance

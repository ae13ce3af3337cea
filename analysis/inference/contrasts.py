"""Any linear contrast of several arms, over the replicates and pairs that all of them share.

A difference of two arms is one (`analysis.inference.pairing`); the arm at one size less a point of another arm's
learning curve, or an interaction of pool and allocation, are others. A contrast of outcomes is an outcome a replicate
and pair, judged as differences are: fresh or overlapping draws, shared or own test pairs, several seeds a replicate.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.inference.design import design
from analysis.inference.difference import FRESH, Difference, crossed_difference, difference_of_means
from analysis.inference.pairing import Endpoint, draws_of
from analysis.inference.stats import FEWEST
from analysis.study.study import Study

Judge = Callable[[np.ndarray], Difference]


class Outcomes(NamedTuple):
    """What several arms came to where all were judged.

    cells: [A, S, E] of arms, seeds and examples; where replicates have examples of their own, E is 1, the mean over
    them. judge: of [S, E] contrasts of these.
    """

    cells: np.ndarray
    judge: Judge
    replicates: int


def outcomes(arms: Sequence[tuple[Study, str]], split: str, endpoint: Endpoint) -> Outcomes | None:
    """Of each arm in its group, by an endpoint on a split. None where they share no seed, or too few examples."""
    every = [group.pairs(arm, split) for group, arm in arms]
    seeds = functools.reduce(np.intersect1d, (pairs.seeds for pairs in every))
    ids = functools.reduce(_shared, (pairs.ids for pairs in every))
    if not len(seeds) or not len(ids):
        return None
    own_rows = all(pairs.own_rows for pairs in every)
    shared = [pairs.on(seeds, ids) for pairs in every]
    cells = np.array([endpoint.outcome(pairs) for pairs in shared])
    known = ~np.isnan(cells).any(axis=0)  # [S, E]
    if own_rows:
        if known.sum(axis=1).min() < FEWEST:
            return None
        cells = np.where(known, cells, 0.0).sum(axis=2, keepdims=True) / known.sum(axis=1)[:, None]
    else:
        cells = cells[:, :, known.all(axis=0)]
        if not cells.shape[2]:
            return None
    replicates = shared[0].replicates
    overlap = max(design(group).overlap for group, _ in arms)
    return Outcomes(cells, _judge(replicates, overlap, own_rows), len(np.unique(replicates)))


def _shared(one: pd.Index, other: pd.Index) -> pd.Index:
    return one if one.equals(other) else one[one.isin(other)]


def _judge(replicates: np.ndarray, overlap: float, own_rows: bool) -> Judge:
    """replicates: of each seed. overlap: the largest of any group's subsamples, to be on the wide side."""
    members = [np.flatnonzero(replicates == replicate) for replicate in np.unique(replicates)]
    plain = not overlap and len(members) == len(replicates)

    def judge(cells: np.ndarray) -> Difference:
        means = np.array([cells[own].mean(axis=0) for own in members])
        draws = FRESH if plain else draws_of(list(cells), replicates, overlap, own_rows)
        return difference_of_means(means[:, 0], draws) if own_rows else crossed_difference(means, draws)

    return judge

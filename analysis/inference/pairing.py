"""Two arms on what both were judged on, by one of the two endpoints that a study is judged by.

The endpoints were declared before any number was seen: accuracy, and information, the bits that a model tells of a
label (`benchmarks.calibration.information`). Accuracy throws a margin's size away; information counts it, at the
temperature of held-out pairs, so that stretching all margins wins nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.inference.design import design
from analysis.inference.difference import Difference, Draws, crossed_difference, nested_difference
from analysis.study.study import Pairs, Study
from benchmarks.metrics import correctness


class Endpoint(NamedTuple):
    """What an arm is judged by. metric: its name in metrics.json. outcome: [S, E] of scored pairs.

    unit, scale, spec: how a difference is said: `+1.2 points` is 0.012 times 100.
    """

    metric: str
    outcome: Callable[[Pairs], np.ndarray]
    unit: str
    scale: float
    spec: str


def _correct(pairs: Pairs) -> np.ndarray:
    margins = pairs.margins
    return np.where(np.isnan(margins), np.nan, correctness(margins))


ACCURACY = Endpoint("accuracy", _correct, "points", 100.0, ".1f")
INFORMATION = Endpoint("information", lambda pairs: pairs.bits, "bits", 1.0, ".3f")
ENDPOINTS = (ACCURACY, INFORMATION)


class Paired(NamedTuple):
    """Two arms on what both were judged on.

    differences: of each of R replicates, [E] of its examples, mean over its seeds. by_seed: of each of S seeds alone.
    own_rows: whether examples are the replicate's own.
    """

    result: Difference
    differences: Sequence[np.ndarray]
    by_seed: Sequence[np.ndarray]
    own_rows: bool

    @property
    def replicates(self) -> int:
        return len(self.differences)

    @property
    def examples(self) -> int:
        """Of a replicate; their mean where replicates have unlike numbers of their own."""
        return round(float(np.mean([len(own) for own in self.differences]))) if self.replicates else 0

    @property
    def cells(self) -> np.ndarray:
        """[R, E], or [R, 1] a mean each where replicates have examples of their own: what a bootstrap draws from."""
        return np.array([[own.mean()] if self.own_rows else own for own in self.differences])


def of_prompts(rows: Mapping[int, pd.DataFrame], replicates: pd.Series) -> Pairs:
    """[S seeds, E prompts] of what is known of an arm by prompt. bits are not defined and NaN.

    rows: {seed: columns `chosen` and `rejected`, by prompt}. replicates: of every seed.
    """
    seeds = sorted(rows)
    ids = pd.Index(dict.fromkeys(name for seed in seeds for name in rows[seed].index), dtype=object)
    chosen, rejected = (
        np.array([rows[seed][side].reindex(ids).to_numpy(float) for seed in seeds]).reshape(len(seeds), len(ids))
        for side in ("chosen", "rejected")
    )
    return Pairs(
        np.array(seeds, int), replicates[seeds].to_numpy(int), ids, chosen, rejected, np.full_like(chosen, np.nan)
    )


def paired_difference(arm: Pairs, reference: Pairs, endpoint: Endpoint = ACCURACY, overlap: float = 0.0) -> Paired:
    """arm − reference in an endpoint, on the seeds and examples they share.

    Where replicates have examples of their own, each is compared on those both arms were judged on, and examples are
    nested in replicates; otherwise every replicate is on the examples that all of them share. overlap: of the
    replicates' base pairs (`design.Design`).
    """
    seeds = np.intersect1d(arm.seeds, reference.seeds)
    ids = arm.ids if arm.ids.equals(reference.ids) else arm.ids[arm.ids.isin(reference.ids)]
    ours, theirs = (pairs.on(seeds, ids) for pairs in (arm, reference))
    cells, replicates = endpoint.outcome(ours) - endpoint.outcome(theirs), ours.replicates
    own_rows = arm.own_rows and reference.own_rows
    if not own_rows:
        cells = cells[:, ~np.isnan(cells).any(axis=0)]
    by_seed = [row[~np.isnan(row)] for row in cells]
    known = [place for place, row in enumerate(by_seed) if len(row)]
    if not known:
        return Paired(Difference(np.nan), [], [], own_rows)
    by_replicate = [
        np.mean([by_seed[i] for i in known if replicates[i] == r], axis=0) for r in np.unique(replicates[known])
    ]
    draws = draws_of([by_seed[i] for i in known], replicates[known], overlap, own_rows)
    found = nested_difference(by_replicate, draws) if own_rows else crossed_difference(np.array(by_replicate), draws)
    return Paired(found, by_replicate, [by_seed[i] for i in known], own_rows)


def draws_of(by_seed: Sequence[np.ndarray], replicates: np.ndarray, overlap: float, own_rows: bool) -> Draws:
    """The overlap, and what seeds leave of a replicate's mean, where replicates have several. by_seed: [S] of [E]."""
    groups = [
        [row for row, of in zip(by_seed, replicates, strict=True) if of == replicate]
        for replicate in np.unique(replicates)
    ]
    df = sum(len(own) - 1 for own in groups)
    if not df:
        return Draws(overlap)
    means = [np.array([row.mean() for row in own]) for own in groups]
    share = float(np.mean([1 / len(own) for own in groups])) / df
    within = share * sum(float(((own - own.mean()) ** 2).sum()) for own in means)
    if own_rows:
        return Draws(overlap, within, df)
    rests = (
        np.array(own) - np.mean(own, axis=0) - (of - of.mean())[:, None] for own, of in zip(groups, means, strict=True)
    )
    examples = len(by_seed[0])
    left = share * sum(float((rest**2).sum()) for rest in rests) / max(1, examples - 1) / examples
    return Draws(overlap, within, df, left)


@functools.lru_cache(maxsize=512)
def difference_of(group: Study, arm: str, reference: str, split: str, endpoint: Endpoint = ACCURACY) -> Paired:
    """arm − reference in an endpoint on a split of one dataset × backbone, for new replicates of its design."""
    return paired_difference(group.pairs(arm, split), group.pairs(reference, split), endpoint, design(group).overlap)

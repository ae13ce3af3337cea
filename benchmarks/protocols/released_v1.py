"""The authors' evaluation of v1: three draws of 100 pairs of the main test split, with its own, wide, intervals.

python -m benchmarks.evaluate model=DIR benchmark=released_v1 dataset=planted
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.protocol import PAIR_KINDS, Benchmark, Measure, Result, Scorer
from benchmarks.splits import checked_scores, coin, length_only, needed, scored, test_splits
from mars.config import UserError
from mars.preferences.pair import Preferences

V1_SEEDS = (123, 124, 125)
V1_PAIRS = 100
V1_RESAMPLES = 300
V1_METRICS = ("accuracy", "auc", "margin_mean", "margin_sd", "snr")


@dataclass(frozen=True)
class ReleasedV1(Benchmark):
    """v1's own protocol on the main test split: `released_v1`."""

    title: ClassVar = "The authors' 3 × 100 pairs"
    kinds: ClassVar = PAIR_KINDS
    measures: ClassVar = (
        Measure("", "accuracy", "accuracy"),
        Measure("", "auc", "AUC", share=False),
        Measure("", "snr", "SNR", share=False),
    )
    needs_dataset: ClassVar = True

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> ReleasedV1:
        """Everything is fixed, the resamples too."""
        return cls()

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        tests = needed(preferences, "released_v1").tests
        _enough(sum(not pair.tied for pair in next(iter(tests.values()))))
        return {}

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """The main test split, all of it, so that other draws can be taken from the table."""
        data = needed(preferences, "released_v1")
        return scored(scorer, data, dict(list(data.tests.items())[:1]))

    def evaluate(self, table: pd.DataFrame) -> Result:
        """Raises UserError for a missing column, a score that is not finite, or fewer pairs than a round has."""
        checked_scores(table, "released_v1")
        split, rows = next(iter(test_splits(table, "released_v1").items()))
        measured, alone = released_v1(rows), released_v1(length_only(rows))
        protocol = {
            "name": "released_v1",
            "pairs": f"{len(V1_SEEDS)} rounds of {V1_PAIRS}, drawn without replacement",
            "seeds": list(V1_SEEDS),
            "ties": "half credit",
            "intervals": "95 %, percentile bootstrap over a round's pairs; end points averaged over rounds",
            "resamples": V1_RESAMPLES,
            "snr": "mean over rounds of the margin's mean / mean over rounds of its sd",
        }
        baselines = {"length_only": {split: alone}, "random": {split: coin(measured)}}
        return Result(protocol, {split: measured}, {"baselines": baselines})


BENCHMARK = ReleasedV1


def released_v1(table: pd.DataFrame) -> dict[str, float]:
    """v1's own protocol: three draws of 100 pairs, 300 resamples each; estimates and interval end points averaged.

    SNR is the mean of the rounds' means over the mean of their sds. `<metric>_half_width` is half the averaged
    interval: a smaller difference between two models is not visible to this protocol. n: pairs a round. Raises
    UserError below 100 pairs.
    """
    _enough(len(table))
    chosen, rejected = checked_scores(table, "released_v1")
    rounds = []
    for seed in V1_SEEDS:
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(table), V1_PAIRS, replace=False)
        estimator = partial(metrics.estimates, chosen[rows], rejected[rows])
        rounds.append(metrics.with_intervals(estimator, V1_PAIRS, V1_RESAMPLES, rng))
    averaged = pd.DataFrame(rounds).mean()
    averaged["snr"] = averaged["margin_mean"] / averaged["margin_sd"] if averaged["margin_sd"] > 0 else 0.0
    result: dict[str, float] = {}
    for name in V1_METRICS:
        result |= {key: float(averaged[key]) for key in (name, f"{name}_lo", f"{name}_hi")}
        result[f"{name}_half_width"] = (result[f"{name}_hi"] - result[f"{name}_lo"]) / 2
    return result | {"n": float(V1_PAIRS)}


def _enough(pairs: int) -> None:
    if pairs < V1_PAIRS:
        raise UserError(f"released_v1: {V1_PAIRS} pairs a round are needed, the main test split has {pairs}")

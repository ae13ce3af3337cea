"""Judge a reward model on held-out pairs of the data it was trained on (section 6 of v1's evaluation).

`InDistribution` is this project's protocol: every pair of every test split, 95 % intervals, what length alone or a coin
would get, where the accuracy comes from, and whether σ(Δ) is to be believed, with a temperature fitted on the
validation pairs. It reads the table of `protocol.pair_table` and keeps the numbers of `released_v1` among its details.

    python -m benchmarks.evaluate model=DIR benchmark=in_distribution dataset=planted
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks import calibration, metrics
from benchmarks.pair_metrics import (
    LABEL_TIES,
    VALIDATION,
    decided,
    only_ties,
    pair_estimates,
    recompute_splits,
    soft_estimates,
)
from benchmarks.protocol import PAIR_KINDS, Benchmark, Measure, Parts, Result, Scorer, essential_protocol
from benchmarks.protocols.released_v1 import V1_PAIRS, released_v1
from benchmarks.splits import checked_scores, coin, length_only, margins_of, needed, scored, test_splits
from mars.config import UserError
from mars.preferences.pair import Preferences


@dataclass(frozen=True)
class InDistribution(Benchmark):
    """This project's protocol. resamples: of the percentile bootstrap over examples, drawn from `seed`."""

    title: ClassVar = "In-distribution accuracy"
    kinds: ClassVar = PAIR_KINDS
    measures: ClassVar = (
        Measure("", "accuracy", "accuracy"),
        Measure("", "information", "information", share=False),
        Measure("", "length_controlled_accuracy", "len.-contr."),
        Measure("", "auc", "AUC", share=False),
        Measure("", "snr", "SNR", share=False),
        Measure("", "log_loss", "log-loss", share=False),
        Measure("", "ece", "ECE", share=False),
        Measure("", "gold_accuracy", "gold"),
    )
    needs_dataset: ClassVar = True

    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        metrics.check_bootstrap(self.resamples, self.seed)

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> InDistribution:
        """Nothing of the protocol is asked for: the numbers depend on no setting."""
        return cls(resamples)

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        for split, pairs in needed(preferences, "in_distribution").tests.items():
            if all(pair.tied for pair in pairs):
                raise only_ties("in_distribution", split)
        return {}

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Every test split and then, as the split `validation`, the validation pairs."""
        data = needed(preferences, "in_distribution")
        return scored(scorer, data, {**data.tests, VALIDATION: data.validation})

    def evaluate(self, table: pd.DataFrame) -> Result:
        """`split_metrics` of every test split; baselines, breakdowns and reliability of each among the details.

        Raises UserError for a missing column, no test pair, or a score that is not finite.
        """
        checked_scores(table)
        tests = test_splits(table, "in_distribution")
        measured, temperature = self._measured(table)
        alone, _ = self._measured(length_only(table))
        main, rows = next(iter(tests.items()))
        details: dict[str, Any] = {
            "baselines": {"length_only": alone, "random": {split: coin(m) for split, m in measured.items()}},
            "reliability": {split: _reliability(part, temperature) for split, part in tests.items()},
            "breakdown": {split: breakdown(part) for split, part in tests.items()},
        }
        if temperature:
            details["temperature"] = temperature._asdict()
        if len(rows) >= V1_PAIRS:
            details["released_v1"] = {main: released_v1(rows)}
        return Result(self._protocol(temperature is not None, "agreement" in table), measured, details)

    def remade(self, table: pd.DataFrame) -> tuple[dict[str, Any], Parts]:
        """As `evaluate` has them, excluding all that costs time: a study of 1,000 runs is checked at each load."""
        if "split" not in table:
            raise UserError("in_distribution: the score table lacks split")
        splits = {str(split): rows for split, rows in table.groupby("split", sort=False)}
        fitted = VALIDATION in splits and not decided(splits[VALIDATION]).empty
        return essential_protocol(self._protocol(fitted, "agreement" in table)), recompute_splits(splits)

    def interval(self, table: pd.DataFrame, part: str, metric: str) -> tuple[float, float]:
        """Of one split alone, its temperature aside."""
        rows = decided(table[table["split"] == part])
        rng = np.random.default_rng(self.seed)
        found = metrics.with_intervals(partial(pair_estimates, rows, None, None), len(rows), self.resamples, rng)
        found |= self._soft(table, part) if "agreement" in table else {}
        return found.get(f"{metric}_lo", np.nan), found.get(f"{metric}_hi", np.nan)

    def _protocol(self, fitted: bool, voted: bool) -> dict[str, Any]:
        """fitted: whether there are validation pairs to fit a temperature on. voted: whether pairs have votes."""
        return {
            "name": "in_distribution",
            "pairs": "all of every test split",
            "ties": "half credit",
            "intervals": "95 %, percentile bootstrap over pairs; in breakdown and reliability Wilson",
            "resamples": self.resamples,
            "seed": self.seed,
            "ece_bins": metrics.ECE_BINS,
            "temperature": "least log-loss of the validation pairs, then held fixed" if fitted else "none fitted",
            **(LABEL_TIES if voted else {}),
        }

    def _measured(self, table: pd.DataFrame) -> tuple[dict[str, dict[str, float]], calibration.Temperature | None]:
        """Metrics by test split, and the temperature, if there are validation pairs to fit one on."""
        held_out = margins_of(decided(table[table["split"] == VALIDATION]))
        temperature = calibration.fit_temperature(held_out) if len(held_out) else None
        tests = test_splits(table, "in_distribution")
        measured = {split: split_metrics(t, self.resamples, self.seed, held_out) for split, t in tests.items()}
        if "agreement" in table:
            measured = {split: values | self._soft(table, split) for split, values in measured.items()}
        return measured, temperature

    def _soft(self, table: pd.DataFrame, split: str) -> dict[str, float]:
        """log_loss_soft of one split with its interval; its ties count."""
        rows = table[table["split"] == split]
        rng = np.random.default_rng(self.seed)
        return metrics.with_intervals(partial(soft_estimates, rows), len(rows), self.resamples, rng)


BENCHMARK = InDistribution


def split_metrics(table: pd.DataFrame, resamples: int, seed: int, held_out: np.ndarray) -> dict[str, float]:
    """Every metric of one split as `<metric>`, `<metric>_lo`, `<metric>_hi`, and n. held_out: validation margins [V].

    Those of `metrics.estimates`; `information`, the mean of `calibration.information`; `length_accuracy`, what "longer
    is better" gets, and `length_controlled_accuracy` (`metrics.length_controlled`, absent where one side is empty).
    With validation pairs the temperature T fitted on them, which has no interval here, and log_loss, brier and ece of
    Δ/T as `<metric>_scaled`. Where any gold margin is known also `gold_accuracy`, over the pairs whose gold margin is
    known and not zero: is the response that is truly better scored higher, whatever the label says?

    Raises UserError for a missing column, an empty table, or a score that is not finite.
    """
    checked_scores(table)
    temperature = calibration.fit_temperature(held_out).value if len(held_out) else None
    bits = calibration.information(margins_of(table), held_out)
    estimate = partial(pair_estimates, table, temperature, bits)
    result = metrics.with_intervals(estimate, len(table), resamples, np.random.default_rng(seed))
    return result | ({} if temperature is None else {"temperature": temperature}) | {"n": float(len(table))}


def breakdown(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """{kind: {group: accuracy with its Wilson interval, and n}} of one split; a group without pairs is left out.

    turns: the user's turns in the prompt; longer: which response is the longer one; length: quarters of the split by
    the longer response's characters, the first `from` its least, the others above `from`, all up to `to`.
    """
    correct, turns, longer = metrics.correctness(margins_of(table)), table["turns"].to_numpy(int), _longer(table)
    longest = table[["chosen_length", "rejected_length"]].to_numpy(float).max(axis=1)
    edges = np.quantile(longest, [0, 0.25, 0.5, 0.75, 1])
    quarter = np.searchsorted(edges[1:-1], longest, side="left")
    by_length = _shares(correct, {f"quarter {i + 1}": quarter == i for i in range(4)})
    for i in range(4):
        if (name := f"quarter {i + 1}") in by_length:
            by_length[name] |= {"from": float(edges[i]), "to": float(edges[i + 1])}
    return {
        "turns": _shares(correct, {"1": turns <= 1, "2": turns == 2, "3+": turns >= 3}),
        "length": by_length,
        "longer": _shares(correct, {"chosen": longer > 0, "rejected": longer < 0, "equal": longer == 0}),
    }


def _shares(correct: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    shares = {}
    for name, rows in groups.items():
        if n := int(rows.sum()):
            right = float(correct[rows].sum())
            lo, hi = metrics.wilson(right, n)
            shares[name] = {"accuracy": right / n, "accuracy_lo": lo, "accuracy_hi": hi, "n": n}
    return shares


def _reliability(table: pd.DataFrame, temperature: calibration.Temperature | None) -> dict[str, Any]:
    margins = margins_of(table)
    after = {"after": calibration.reliability(margins / temperature.value)} if temperature else {}
    return {"before": calibration.reliability(margins), **after}


def _longer(table: pd.DataFrame) -> np.ndarray:
    """[N] 1 where the chosen response has more characters, −1 where it has fewer, 0 where both have as many."""
    return np.sign(table["chosen_length"].to_numpy(float) - table["rejected_length"].to_numpy(float))

"""Judge a reward model on held-out pairs of the data it was trained on (section 6 of v1's evaluation).

`InDistribution` is this project's protocol: every pair of every test split, 95 % intervals, what length alone or a coin
would get, where the accuracy comes from, and whether σ(Δ) is to be believed, with a temperature fitted on the
validation pairs. `ReleasedV1` is the authors' 3 × 100 pairs of the main split with its own, wide, intervals; the first
keeps its numbers among its details. Both read the table of `judging.pair_table`.

    python -m benchmarks.evaluate model=DIR benchmark=in_distribution dataset=planted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks import calibration, metrics
from benchmarks.pair_metrics import VALIDATION, pair_estimates
from benchmarks.protocol import PAIR_COLUMNS, Result, Scorer, finite, pair_table
from mars.config import UserError
from mars.preferences.pair import Pair, Preferences, pairs_digest

V1_SEEDS = (123, 124, 125)
V1_PAIRS = 100
V1_RESAMPLES = 300
V1_METRICS = ("accuracy", "auc", "margin_mean", "margin_sd", "snr")


@dataclass(frozen=True)
class InDistribution:
    """This project's protocol. resamples: of the percentile bootstrap over examples, drawn from `seed`."""

    needs_dataset: ClassVar[bool] = True
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        metrics.check_bootstrap(self.resamples, self.seed)

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        _needed(preferences, "in_distribution")
        return {}

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Every test split and then, as the split `validation`, the validation pairs."""
        data = _needed(preferences, "in_distribution")
        return _scored(scorer, data, {**data.tests, VALIDATION: data.validation})

    def evaluate(self, table: pd.DataFrame) -> Result:
        """`split_metrics` of every test split; baselines, breakdowns and reliability of each among the details.

        Raises UserError for a missing column, no test pair, or a score that is not finite.
        """
        _scores(table)
        tests = _tests(table, "in_distribution")
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
        protocol = {
            "name": "in_distribution",
            "pairs": "all of every test split",
            "ties": "half credit",
            "intervals": "95 %, percentile bootstrap over pairs; in breakdown and reliability Wilson",
            "resamples": self.resamples,
            "seed": self.seed,
            "ece_bins": metrics.ECE_BINS,
            "temperature": "least log-loss of the validation pairs, then held fixed" if temperature else "none fitted",
        }
        return Result(protocol, measured, details)

    def _measured(self, table: pd.DataFrame) -> tuple[dict[str, dict[str, float]], calibration.Temperature | None]:
        """Metrics by test split, and the temperature, if there are validation pairs to fit one on."""
        held_out = _margins(table[table["split"] == VALIDATION])
        temperature = calibration.fit_temperature(held_out) if len(held_out) else None
        value = temperature.value if temperature else None
        tests = _tests(table, "in_distribution")
        return {split: split_metrics(t, self.resamples, self.seed, value) for split, t in tests.items()}, temperature


@dataclass(frozen=True)
class ReleasedV1:
    """v1's own protocol on the main test split: `released_v1`."""

    needs_dataset: ClassVar[bool] = True

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        tests = _needed(preferences, "released_v1").tests
        _enough(len(next(iter(tests.values()))))
        return {}

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """The main test split, all of it, so that other draws can be taken from the table."""
        data = _needed(preferences, "released_v1")
        return _scored(scorer, data, dict(list(data.tests.items())[:1]))

    def evaluate(self, table: pd.DataFrame) -> Result:
        """Raises UserError for a missing column, a score that is not finite, or fewer pairs than a round has."""
        _scores(table, "released_v1")
        split, rows = next(iter(_tests(table, "released_v1").items()))
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


def split_metrics(table: pd.DataFrame, resamples: int, seed: int, temperature: float | None = None) -> dict[str, float]:
    """Every metric of one split as `<metric>`, `<metric>_lo`, `<metric>_hi`, and n.

    Those of `metrics.estimates`; `length_accuracy`, what "longer is better" gets, and `length_controlled_accuracy`
    (`metrics.length_controlled`, absent where one side is empty); with a temperature T, which has no interval here,
    also log_loss, brier and ece of Δ/T as `<metric>_scaled`. Where any gold margin is known also `gold_accuracy`, over
    the pairs whose gold margin is known and not zero: is the response that is truly better scored higher, whatever the
    label says? Raises UserError for a missing column, an empty table, or a score that is not finite.
    """
    _scores(table)
    estimate = partial(pair_estimates, table, temperature)
    result = metrics.with_intervals(estimate, len(table), resamples, np.random.default_rng(seed))
    return result | ({} if temperature is None else {"temperature": temperature}) | {"n": float(len(table))}


def released_v1(table: pd.DataFrame) -> dict[str, float]:
    """v1's own protocol: three draws of 100 pairs, 300 resamples each; estimates and interval end points averaged.

    SNR is the mean of the rounds' means over the mean of their sds. `<metric>_half_width` is half the averaged
    interval: a smaller difference between two models is not visible to this protocol. n: pairs a round. Raises
    UserError below 100 pairs.
    """
    _enough(len(table))
    chosen, rejected = _scores(table, "released_v1")
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


def length_only(table: pd.DataFrame) -> pd.DataFrame:
    """`table` as a scorer leaves it that sees a response's length in characters and nothing else."""
    return table.assign(
        chosen_score=table["chosen_length"].astype(float), rejected_score=table["rejected_length"].astype(float)
    )


def coin(measured: Mapping[str, float]) -> dict[str, float]:
    """What scores without any information get on as many pairs; the interval is where 95 % of such scorers land."""
    half = metrics.coin_half_width(int(measured["n"]))
    expected = {"accuracy": 0.5, "accuracy_lo": 0.5 - half, "accuracy_hi": 0.5 + half, "auc": 0.5}
    balanced = {"length_controlled_accuracy": 0.5} if "length_controlled_accuracy" in measured else {}
    return expected | balanced | {"n": measured["n"]}


def breakdown(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """{kind: {group: accuracy with its Wilson interval, and n}} of one split; a group without pairs is left out.

    turns: the user's turns in the prompt; longer: which response is the longer one; length: quarters of the split by
    the longer response's characters, the first `from` its least, the others above `from`, all up to `to`.
    """
    correct, turns, longer = metrics.correctness(_margins(table)), table["turns"].to_numpy(int), _longer(table)
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
    margins = _margins(table)
    after = {"after": calibration.reliability(margins / temperature.value)} if temperature else {}
    return {"before": calibration.reliability(margins), **after}


def _scored(
    scorer: Scorer, preferences: Preferences, splits: Mapping[str, Sequence[Pair]]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The pair tables of `splits`, one below the other, and where their rows came from."""
    tables = [pair_table(pairs, scorer, split) for split, pairs in splits.items() if len(pairs)]
    record = {
        "name": preferences.name,
        "licence": preferences.report.get("licence"),
        "sources": preferences.report.get("sources"),
        "rows": {split: len(pairs) for split, pairs in splits.items()},
        "sha256": {split: pairs_digest(pairs) for split, pairs in splits.items()},
    }
    return pd.concat(tables, ignore_index=True), {key: value for key, value in record.items() if value is not None}


def _needed(preferences: Preferences | None, benchmark: str) -> Preferences:
    if preferences is None or not preferences.tests:
        raise UserError(f"{benchmark}: needs a dataset with a test split to judge on (dataset=NAME)")
    if VALIDATION in preferences.tests:
        raise UserError(f'{benchmark}: a test split of {preferences.name} is named "{VALIDATION}" (rename it)')
    for split, pairs in preferences.tests.items():
        if not len(pairs):
            raise UserError(f"{benchmark}: there are no pairs to judge (the split {split} is empty)")
    return preferences


def _tests(table: pd.DataFrame, benchmark: str) -> dict[str, pd.DataFrame]:
    """The test splits' rows, the main split first."""
    tests = {str(split): part for split, part in table.groupby("split", sort=False) if split != VALIDATION}
    if not tests:
        raise UserError(f"{benchmark}: there is nothing to judge (no test split in the table)")
    return tests


def _margins(table: pd.DataFrame) -> np.ndarray:
    return table["chosen_score"].to_numpy(float) - table["rejected_score"].to_numpy(float)


def _longer(table: pd.DataFrame) -> np.ndarray:
    """[N] 1 where the chosen response has more characters, −1 where it has fewer, 0 where both have as many."""
    return np.sign(table["chosen_length"].to_numpy(float) - table["rejected_length"].to_numpy(float))


def _scores(table: pd.DataFrame, benchmark: str = "in_distribution") -> tuple[np.ndarray, np.ndarray]:
    """Chosen and rejected scores, [N] float64 each, checked."""
    missing = [column for column in PAIR_COLUMNS if column not in table]
    if missing:
        raise UserError(f"{benchmark}: the score table lacks {', '.join(missing)}")
    chosen, rejected = finite(table, ("chosen_score", "rejected_score"), benchmark).T
    return chosen, rejected

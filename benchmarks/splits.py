"""The test splits of a data set as the rows of a benchmark: scored, read back, and what needs no model to get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.pair_metrics import VALIDATION, decided, only_ties
from benchmarks.protocol import PAIR_COLUMNS, Scorer, finite, pair_table
from mars.config import UserError
from mars.preferences.pair import Pair, Preferences, pairs_digest


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


def scored(
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
    table = pd.concat(tables, ignore_index=True)
    if "agreement" in table:
        table["agreement"] = table["agreement"].fillna(1.0)  # of splits on which all agree
    return table, {key: value for key, value in record.items() if value is not None}


def needed(preferences: Preferences | None, benchmark: str) -> Preferences:
    if preferences is None or not preferences.tests:
        raise UserError(f"{benchmark}: needs a dataset with a test split to judge on (dataset=NAME)")
    if VALIDATION in preferences.tests:
        raise UserError(f'{benchmark}: a test split of {preferences.name} is named "{VALIDATION}" (rename it)')
    for split, pairs in preferences.tests.items():
        if not len(pairs):
            raise UserError(f"{benchmark}: there are no pairs to judge (the split {split} is empty)")
    return preferences


def test_splits(table: pd.DataFrame, benchmark: str) -> dict[str, pd.DataFrame]:
    """The test splits' rows, the main split first, less their ties (`pair_metrics.decided`)."""
    tests = {str(split): decided(part) for split, part in table.groupby("split", sort=False) if split != VALIDATION}
    for split, part in tests.items():
        if part.empty:
            raise only_ties(benchmark, split)
    if not tests:
        raise UserError(f"{benchmark}: there is nothing to judge (no test split in the table)")
    return tests


def margins_of(table: pd.DataFrame) -> np.ndarray:
    return table["chosen_score"].to_numpy(float) - table["rejected_score"].to_numpy(float)


def checked_scores(table: pd.DataFrame, benchmark: str = "in_distribution") -> tuple[np.ndarray, np.ndarray]:
    """Chosen and rejected scores, [N] float64 each, checked."""
    missing = [column for column in PAIR_COLUMNS if column not in table]
    if missing:
        raise UserError(f"{benchmark}: the score table lacks {', '.join(missing)}")
    chosen, rejected = finite(table, ("chosen_score", "rejected_score"), benchmark).T
    return chosen, rejected

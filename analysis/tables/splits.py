"""Accuracy on every test split, with the difference to the reference: where an arm gains, and where it pays for it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis.exhibits.table import Column, Table
from analysis.inference.comparability import forbidden
from analysis.inference.comparisons import counterpart, paired
from analysis.study.study import NothingToShow, Study
from analysis.tables.arms import OVER_SEEDS, arm_rows, column, measured, over_seeds


def splits(study: Study) -> Table:
    """Raises NothingToShow for a study of one split whose true reward is not known."""
    rows = [row for _, group in study.groups() for split in group.splits for row in _rows(group, split)]
    frame = pd.DataFrame(rows)
    if len(study.splits) < 2 and (frame.empty or frame["gold_accuracy"].isna().all()):
        raise NothingToShow("there is one test split and no true reward (dataset=planted has several, with gold)")
    caption = (
        f"Accuracy in %, a tie counts ½, {OVER_SEEDS}. Difference to {study.reference} in points on the same seeds and "
        "pairs, with a 95 % interval for new seeds and new pairs: exploratory, one interval at a time and not adjusted "
        "for their number; the declared comparisons are on the main split alone. Gold: agreement with the true reward "
        "instead of the labels, where it is known and they differ. Nothing is tested, so nothing is bold."
    )
    columns = (
        Column("arm", "arm"),
        Column("accuracy", "accuracy %", ".1f", 100, interval=True),
        Column("difference", f"− {study.reference}", "+.1f", 100, interval=True),
        Column("gold_accuracy", "gold %", ".1f", 100, interval=True),
    )
    return Table("splits", "Every test split", caption, frame, columns, ("dataset", "backbone", "split"))


def _rows(group: Study, split: str) -> list[dict[str, Any]]:
    found, rows, unfit = measured(group), [], bool(forbidden(group))
    for _, arm, row in arm_rows(group):
        values = found.get((arm, split))
        row |= {"split": split, **over_seeds("accuracy", column(values, "accuracy"))}
        gold = over_seeds("gold_accuracy", column(values, "gold_accuracy"))
        row |= gold if abs(gold["gold_accuracy"] - row["accuracy"]) > 1e-12 else dict.fromkeys(gold, math.nan)
        reference = counterpart(group.arms, arm, group.reference)
        if reference not in (None, arm) and not unfit:
            row |= _difference(group, arm, str(reference), split)
        rows.append(row)
    return rows


def _difference(group: Study, arm: str, reference: str, split: str) -> dict[str, float]:
    found = paired(group.pairs(arm, split), group.pairs(reference, split)).result
    if math.isnan(found.difference):
        return {}
    return {"difference": found.difference, "difference_lo": found.lo, "difference_hi": found.hi}

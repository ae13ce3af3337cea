"""Accuracy on every test split of the data a run was trained on, and against the true reward where that is known.

A column a split: what an arm gains on the main one may be lost where nuisances are reversed or margins are small.
"""

from __future__ import annotations

import pandas as pd

from analysis.results import NothingToShow, Study
from analysis.tables.arms import OVER_SEEDS, arm_rows, column, measured, over_seeds
from analysis.tables.table import Column, Table

_GOLD = "gold_"  # prefix of a split's second column


def splits(study: Study) -> Table:
    """Raises NothingToShow for a study of one split whose true reward is not known."""
    rows, golden = [], False
    for _, group in study.groups():
        found = measured(group)
        for _, arm, row in arm_rows(group):
            for split in group.splits:
                values = found.get((arm, split))
                row |= over_seeds(split, column(values, "accuracy"), "accuracy")
                gold = over_seeds(_GOLD + split, column(values, "gold_accuracy"), "accuracy")
                golden |= pd.notna(gold[_GOLD + split])
                row |= gold
            rows.append(row)
    if len(study.splits) < 2 and not golden:
        raise NothingToShow("there is one test split and no true reward (dataset=planted has several, with gold)")
    columns = [Column("arm", "arm")]
    for split in study.splits:
        columns.append(Column(split, f"{split} %", ".1f", 100, interval=True))
        columns.append(Column(_GOLD + split, f"{split}, gold %", ".1f", 100))
    caption = (
        f"Accuracy in %, a tie counts ½, {OVER_SEEDS}. Gold: agreement with the true reward instead of the labels, "
        "where it is known; the intervals of gold are in the csv. No value is tested, so none is bold."
    )
    return Table("splits", "Accuracy on every test split", caption, pd.DataFrame(rows), tuple(columns))

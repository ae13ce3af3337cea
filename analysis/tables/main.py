"""Arms on the main test split: accuracy, AUC, SNR and mean margin, as v1 has them, with what was published beside.

The first table of a results section: `study.table("main")`.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.exhibits.reference import Published, beside, cited, published
from analysis.exhibits.table import Column, Table
from analysis.study.study import NothingToShow, Study
from analysis.tables.arms import OVER_SEEDS, arm_rows, column, measured, over_seeds, whole
from analysis.tables.best import MEANING, best

_METRICS = ("accuracy", "auc", "snr", "margin_mean")
_COLUMNS = (
    Column("arm", "arm"),
    Column("accuracy", "accuracy %", ".1f", 100, interval=True),
    Column("auc", "AUC", ".3f", interval=True),
    Column("snr", "SNR", ".2f", interval=True),
    Column("margin_mean", "mean margin", ".3f", interval=True),
    Column("published", "published", always=True),
    Column("seeds", "seeds", "d"),
    Column("examples", "pairs", ",d"),
)


def main(study: Study, reference: Iterable[Published] | None = None) -> Table:
    """reference: what is published, paper_reference.yaml unless told. Raises NothingToShow where nothing was judged."""
    if not study.splits:
        raise NothingToShow(
            "no run has in_distribution metrics (python -m benchmarks.evaluate study=DIR benchmark=in_distribution)"
        )
    known = [entry for entry in (published() if reference is None else reference) if entry.table == "main"]
    rows = [row for _, group in study.groups() if group.splits for row in _rows(group, known)]
    caption = (
        f"On the main test split; {OVER_SEEDS}. Accuracy: a tie counts ½. AUC of all scores, chosen against rejected; "
        "SNR: mean over population sd of the margins; margins in units of the score, which differ between models. "
        f"{MEANING} {cited(known, rows)}"
    )
    frame = whole(pd.DataFrame(rows), "seeds", "examples")
    return Table("main", "Reward models on held-out pairs", caption, frame, _COLUMNS, ("dataset", "backbone", "split"))


def _rows(group: Study, known: list[Published]) -> list[dict[str, object]]:
    split, found, rows = group.splits[0], measured(group), []
    for _, arm, row in arm_rows(group):
        values = found.get((arm, split))
        row["split"] = split
        for metric in _METRICS:
            row |= over_seeds(metric, column(values, metric))
            row[f"{metric}_published"] = beside(known, row, metric)
        values_known = {metric: row[f"{metric}_published"] for metric in _METRICS if row[f"{metric}_published"]}
        row["published"] = "; ".join(f"{metric} {value}" for metric, value in values_known.items())
        accuracy, n = column(values, "accuracy"), column(values, "n")
        rows.append(
            row | {"seeds": 0 if accuracy is None else accuracy.count(), "examples": None if n is None else n.mean()}
        )
    means = {m: {str(r["arm"]): r[m] for r in rows if pd.notna(r[m])} for m in _METRICS}
    winners = best(group, split, means)
    return [row | {f"{m}_best": winners.get(m) == row["arm"] for m in _METRICS} for row in rows]

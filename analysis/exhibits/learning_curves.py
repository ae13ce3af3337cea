"""Accuracy and information against the number of base pairs, and how many labels one arm saves another.

Sizes stand on a logarithmic axis, on which the curves are straight between two of them, as they are when labels are
counted (`analysis.inference.label_equivalence`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels, most_replicates
from analysis.exhibits.measures import CHANCE, by_replicate
from analysis.exhibits.table import Column, number, records
from analysis.inference.label_equivalence import equivalences, of_sizes
from analysis.study.study import Study

_METRICS = {"accuracy": "test accuracy", "information": "information, bits a pair"}


class LearningCurves(Exhibit):
    """Two panels per dataset × backbone, accuracy and information: a line an arm."""

    name, title = "learning_curves", "Accuracy and information against labels"
    see = "An arm whose curve lies to the left reaches the same level with fewer labels; the table says how many."
    caption = "Main test split, by the number of base pairs."

    def frame(self, study: Study) -> pd.DataFrame:
        parts = []
        for of in of_sizes(study):
            for metric, label in _METRICS.items():
                points = [
                    by_replicate(group, group.splits[0], metric)
                    .drop_duplicates("arm")
                    .assign(labels=size, metric=metric, label=label)
                    for size, group in of.groups.items()
                    if group.splits
                ]
                parts.append((f"{of.dataset} / {of.backbone}, {metric}", pd.concat(points)))
        return in_panels(parts).drop(columns=["replicate", "value"])

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(2, (3.4, 2.6), left=0.75)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        replicates = most_replicates(study, frame["arm"])
        return style.replicates_key("bands: 95 % interval over replicates", replicates) + "; logarithmic axis"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look = style.looks(study.arms)
        bounds = (0.0, 1.0) if frame["metric"].iloc[0] == "accuracy" else None
        for arm, own in frame.dropna(subset=["mean"]).groupby("arm", sort=False):
            style.band(
                axes, own["labels"].to_numpy(), own[["mean", "lo", "hi"]].to_numpy(float), look[str(arm)], bounds
            )
        sizes = sorted(frame["labels"].unique())
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(sizes, [number(size, ",d") for size in sizes])
        axes.set(xlabel="base pairs", ylabel=str(frame["label"].iloc[0]))
        shown = frame["mean"].dropna()
        if len(shown) and shown.min() < (CHANCE if bounds else 0.0):
            style.mark(axes, CHANCE if bounds else 0.0)
        style.lay_grid(axes)


class LabelEquivalence(Exhibit):
    """A row for each size, endpoint and two arms: the labels of the one that do what those of the other do."""

    name, title = "label_equivalence", "Labels that one arm saves"
    by = ("dataset", "backbone", "split", "endpoint")
    columns = (
        Column("arm", "arm"),
        Column("labels", "with labels", ",d"),
        Column("level", "level", ".3f"),
        Column("reference", "equals"),
        Column("equals", "with"),
        Column("replicates", "replicates", "d"),
        Column("not_compared", "not compared"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        frame = equivalences(study)
        return frame.assign(equals=[in_words(row) for row in records(frame)])

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "An arm with so many labels (base pairs) equals the other with so many, [95 % interval]: where the other's "
            "learning curve, over log n and not falling, reaches the arm's level on the main test split. The interval "
            "holds every number at which the two cannot be told apart on the same replicates. Nothing is extrapolated: "
            "“more than” and “fewer than” name the ends of what was run. One interval at a time, not adjusted for "
            "their number."
        )


def in_words(row: dict[str, Any]) -> str:
    """`520 [310, more than 1,600]`; empty where nothing is known."""
    smallest, largest = (number(row[end], ",d") for end in ("smallest", "largest"))

    def said(labels: float) -> str:
        if labels in (0.0, math.inf):
            return f"more than {largest}" if labels else f"fewer than {smallest}"
        return number(labels, ",.0f")

    equal, lo, hi = (row[key] for key in ("equal", "equal_lo", "equal_hi"))
    whole = math.isnan(lo) or (lo, hi) in ((0.0, row["smallest"]), (row["largest"], math.inf))  # nothing to add
    return said(equal) if whole else f"{said(equal)} [{said(lo)}, {said(hi)}]"

"""The declared comparisons: each difference, its interval, and what could have been found.

An interval that holds zero says little unless one knows how large a difference would have shown: the grey bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel
from analysis.exhibits.table import Column, number, records
from analysis.inference.comparisons import compare
from analysis.study.study import NothingToShow, Study

_NUMBERS = 2.5  # inches beside a panel


class Comparisons(Exhibit):
    """A row for each comparison of the study's declared family; drawn, a panel per dataset × backbone."""

    name, title = "comparisons", "Declared comparisons"
    caption = (
        "Differences in accuracy on the same seeds and test pairs, with 95 % intervals for new seeds and new pairs. "
        "Hollow: inconclusive. A difference within the grey bar would have been missed in more than one of five "
        "studies of this size."
    )
    by = ("dataset", "backbone", "split")
    columns = (
        Column("arm", "arm"),
        Column("reference", "against"),
        Column("verdict", "verdict"),
        Column("difference", "difference, points", "+.1f", 100, interval=True),
        Column("p", "p", "p"),
        Column("p_holm", "adjusted p", "p"),
        Column("detectable", "detectable, points", ".1f", 100),
        Column("bootstrap", "bootstrap interval", "+.1f", 100, interval=True),
        Column("mcnemar_p", "McNemar p", "p"),
        Column("seeds", "seeds", "d"),
        Column("examples", "pairs", ",d"),
        Column("steps", "steps", ",d"),
        Column("reference_steps", "reference's steps", ",d"),
        Column("not_compared", "not compared"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        frame = compare(study)
        if frame.empty:
            raise NothingToShow(
                f"no declared comparison: run {study.focus} beside another arm (python -m mars.run -m "
                "method=uniform,mars) or name focus=ARM"
            )
        return frame.astype({"seeds": "Int64", "examples": "Int64"})

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        family = int(frame["family"].max())
        caption = (
            "Accuracy on the main test split, arm − reference in points, on the same seeds and test pairs: mean, 95 % "
            "interval and p for new seeds and new pairs. Adjusted p: Holm's, over the study's "
            f"{family} comparison{'' if family == 1 else 's'} with a p; the verdict goes by it, and “inconclusive” is "
            "not “no difference”. Detectable: the smallest difference that a study like this finds four times in five, "
            "at the level the smallest p of the family has to pass. Beside it the percentile bootstrap's interval over "
            "seeds × pairs, too narrow for few seeds, and the exact McNemar p of the seeds' models, combined."
        )
        if "own_rows" in frame:
            caption += (
                " Where every seed has test pairs of its own, a comparison takes one number a seed: interval and p are "
                "Student's t over seeds, pairs are those of a seed, and the bootstrap draws seeds."
            )
        return caption

    def panels(self, study: Study, frame: pd.DataFrame) -> list[Panel | None]:
        return [
            Panel(f"{dataset} / {backbone}, {rows['split'].iloc[0]}", rows)
            for (dataset, backbone), rows in frame.groupby(["dataset", "backbone"])
        ]

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        names, row = style.names_room([name for panel in panels for name in _names(panel.frame)])
        size = (3.4, row * max(len(panel.frame) for panel in panels))
        return style.Layout(style.columns(len(panels), 2), size, left=names, right=_NUMBERS)

    def legend(self, study: Study, frame: pd.DataFrame) -> list[str]:
        return []

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "bars: 95 % interval for new seeds and pairs; p: adjusted for all comparisons (Holm), filled below 0.05; "
            "grey: the differences that would have been missed in more than one of five such studies"
        )

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look = style.looks(study.arms)
        for y, row in enumerate(records(frame)):
            _draw_row(axes, y, row, look.get(row["reference"], style.Look("0.3", "o", "-")))
            text = style.wrap_text(_numbers(row), _NUMBERS - 0.2, style.SMALL)
            axes.text(1.03, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=style.SMALL)
        style.name_rows(axes, _names(frame))
        axes.set_xlabel("difference in accuracy, points")
        axes.axvline(0, color="0.3", linewidth=1, zorder=1)
        style.lay_grid(axes, "x")

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        reach = max(_reach(panel.frame) for _, panel in drawn)
        for axes, _ in drawn:
            axes.set_xlim(-1.08 * reach, 1.08 * reach)


def _names(frame: pd.DataFrame) -> list[str]:
    return [f"{row['arm']} −\u00a0{row['reference']}" for row in records(frame)]


def _draw_row(axes: Axes, y: int, row: dict[str, Any], look: style.Look) -> None:
    """A comparison's grey bar, interval and difference."""
    difference, lo, hi, missed = (
        100 * row[key] for key in ("difference", "difference_lo", "difference_hi", "detectable")
    )
    if np.isfinite(missed):
        axes.barh(y, 2 * missed, 0.7, left=-missed, color="0.9", linewidth=0, zorder=0.4)
    if np.isfinite(difference):
        axes.plot([lo, hi], [y, y], color=look.colour, linewidth=1.6)
        fill = look.colour if row["verdict"] in ("better", "worse") else "white"
        axes.plot(difference, y, look.marker, color=look.colour, markersize=6, markerfacecolor=fill)


def _reach(frame: pd.DataFrame) -> float:
    """How far to show a group's comparisons, in points: a grey bar may run off the panel."""
    shown = np.abs(100 * frame[["difference", "difference_lo", "difference_hi"]].to_numpy(float))
    far = float(np.nanmax([*shown.ravel(), 1.0]))
    grey = float(np.nanmax([*(100 * frame["detectable"].to_numpy(float)), 0.0]))
    return min(100.0, max(far, min(grey, 1.5 * far)))


def _numbers(row: dict[str, Any]) -> str:
    """The numbers of a row, or why there are none."""
    if not np.isfinite(row["difference"]):
        return f"not compared: {row['not_compared']}"
    points, lo, hi = (number(100 * row[key], "+.1f") for key in ("difference", "difference_lo", "difference_hi"))
    if not lo:
        return f"{points} ({row['not_compared']})"
    return f"{points} [{lo}, {hi}], p {number(row['p_holm'], 'p')}"

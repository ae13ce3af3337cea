"""The declared comparisons, in points of accuracy, with what the study could have found.

An interval that holds zero says little unless one knows how large a difference would have shown: the grey bar.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.exhibits import style
from analysis.exhibits.table import number, records
from analysis.inference.comparisons import compare
from analysis.study.study import NothingToShow, Study

_NUMBERS = 2.5  # inches beside a panel


def comparisons(study: Study) -> Figure:
    """A panel per dataset × backbone, a row per comparison."""
    table = compare(study)
    if table.empty:
        raise NothingToShow(f"{study.focus} ran beside no arm it is compared with (method=uniform,mars; focus=ARM)")
    panels = [
        (f"{dataset} / {backbone}, {rows['split'].iloc[0]}", records(rows))
        for (dataset, backbone), rows in table.groupby(["dataset", "backbone"])
    ]
    labels = [[f"{row['arm']} −\u00a0{row['reference']}" for row in rows] for _, rows in panels]
    names, row = style.names_room([label for names in labels for label in names])
    figure, grid = style.sheet(
        [title for title, _ in panels],
        style.columns(len(panels), 2),
        (3.4, row * max(map(len, labels))),
        left=names,
        below=0.5,
        right=_NUMBERS,
        foot="bars: 95 % interval for new seeds and pairs; p: adjusted for all comparisons (Holm), filled below 0.05; "
        "grey: the differences that would have been missed in more than one of five such studies",
    )
    look = style.looks(study.arms)
    reach = max(_panel(axes, rows, look) for axes, (_, rows) in zip(grid, panels, strict=True))
    for axes, named in zip(grid, labels, strict=True):
        style.name_rows(axes, named)
        axes.set_xlim(-1.08 * reach, 1.08 * reach)
        axes.set_xlabel("difference in accuracy, points")
        axes.axvline(0, color="0.3", linewidth=1, zorder=1)
        style.lay_grid(axes, "x")
    return figure


def _panel(axes: Axes, rows: list[dict[str, Any]], look: dict[str, style.Look]) -> float:
    """Draws a group's comparisons; how far to show them, in points: a grey bar may run off the panel."""
    reach, grey = [1.0], [0.0]
    for y, row in enumerate(rows):
        own = look.get(row["reference"], style.Look("0.3", "o", "-"))
        difference, lo, hi, missed = (
            100 * row[key] for key in ("difference", "difference_lo", "difference_hi", "detectable")
        )
        if np.isfinite(missed):
            axes.barh(y, 2 * missed, 0.7, left=-missed, color="0.9", linewidth=0, zorder=0.4)
        if np.isfinite(difference):
            axes.plot([lo, hi], [y, y], color=own.colour, linewidth=1.6)
            found = row["verdict"] in ("better", "worse")
            axes.plot(
                difference,
                y,
                own.marker,
                color=own.colour,
                markersize=6,
                markerfacecolor=own.colour if found else "white",
            )
        text = style.fitted(_said(row), _NUMBERS - 0.2, style.SMALL)
        axes.text(1.03, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=style.SMALL)
        reach += [abs(value) for value in (difference, lo, hi) if np.isfinite(value)]
        grey += [missed] if np.isfinite(missed) else []
    return min(100.0, max(max(reach), min(max(grey), 1.5 * max(reach))))


def _said(row: dict[str, Any]) -> str:
    """The numbers of a row, or why there are none."""
    if not np.isfinite(row["difference"]):
        return f"not compared: {row['not_compared']}"
    points, lo, hi = (number(100 * row[key], "+.1f") for key in ("difference", "difference_lo", "difference_hi"))
    if not lo:
        return f"{points} ({row['not_compared']})"
    return f"{points} [{lo}, {hi}], p {number(row['p_holm'], 'p')}"

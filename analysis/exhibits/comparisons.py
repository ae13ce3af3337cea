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
from analysis.exhibits.table import Column, compared, number, records
from analysis.inference.comparisons import compare
from analysis.inference.pairing import ACCURACY, INFORMATION, Endpoint
from analysis.inference.verdicts import BETTER, EQUIVALENT, WORSE
from analysis.study.study import NothingToShow, Study

_NUMBERS = 3.0  # inches beside a panel


class Comparisons(Exhibit):
    """A row for each comparison of the study's declared family by accuracy; drawn, a panel per dataset × backbone."""

    name, title = "comparisons", "Declared comparisons: accuracy"
    see = "Right of the line at 0 the arm in focus is better; an interval between the dotted lines is a tie."
    endpoint = ACCURACY
    caption = (
        "Differences on the same replicates and test pairs, with 95 % intervals for new replicates and new pairs. "
        "Dotted: the margin within which two arms count as equivalent. A difference within the grey bar would have "
        "been missed in more than one of five studies of this size."
    )
    by = ("dataset", "backbone", "split")

    def frame(self, study: Study) -> pd.DataFrame:
        frame = compare(study)
        if frame.empty:
            raise NothingToShow(
                f"no declared comparison: run {study.focus} beside another arm (python -m mars.run -m "
                "method=uniform,mars) or name focus=ARM"
            )
        frame = frame[frame["endpoint"] == self.endpoint.metric].reset_index(drop=True)
        return frame.astype({"replicates": "Int64", "examples": "Int64"})

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        _, _, unit, scale, spec = self.endpoint
        return (
            Column("arm", "arm"),
            Column("reference", "against"),
            Column("verdict", "verdict"),
            Column("difference", f"difference, {unit}", f"+{spec}", scale, interval=True),
            Column("p", "p", "p"),
            Column("p_adjusted", "adjusted p", "p"),
            Column("equivalence_p_adjusted", "adjusted p, equivalence", "p"),
            Column("more_replicates", "more replicates", ",.0f"),
            Column("larger_replicates", "or replicates", ",.0f"),
            Column("larger_examples", "on test pairs", ",.0f"),
            Column("larger_rows", "from rows", ",.0f"),
            Column("detectable", f"detectable, {unit}", spec, scale),
            Column("bootstrap", "bootstrap interval", f"+{spec}", scale, interval=True),
            *([Column("mcnemar_p", "McNemar p", "p")] if self.endpoint is ACCURACY else []),
            Column("replicates", "replicates", "d"),
            Column("examples", "pairs", ",d"),
            Column("steps", "steps", ",d"),
            Column("reference_steps", "reference's steps", ",d"),
            Column("kept_step", "kept after", ",.0f"),
            Column("reference_kept_step", "reference's kept after", ",.0f"),
            Column("not_compared", "not compared"),
        )

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        family, margin = int(frame["family"].max()), _margin(study, self.endpoint)
        caption = (
            f"Arm − reference on the main test split, in {self.endpoint.unit}, on the same replicates and test pairs: "
            "mean, 95 % interval and p for new replicates and new pairs. Adjusted: times the study's "
            f"{family} comparison{'' if family == 1 else 's'} by either endpoint; verdicts go by it, for a difference "
            f"or for equivalence within ± {margin}. More replicates: how many would about settle it, if the truth is "
            "the estimate; where no number would, so many replicates judged on so many test pairs and drawn from so "
            "many rows would, each named where those there are do not do. Detectable: the smallest difference that a "
            "study like this finds four times in five. Beside it the percentile bootstrap's interval over replicates × "
            "pairs, too narrow for few replicates"
        )
        caption += ", and the exact McNemar p of the runs' models, combined." if self.endpoint is ACCURACY else "."
        if "own_rows" in frame:
            caption += (
                " Where every replicate has test pairs of its own, a comparison takes one number a replicate: interval "
                "and p are Student's t over replicates, pairs are those of a replicate, and the bootstrap draws "
                "replicates."
            )
        if "kept_step" in frame:
            caption += (
                " Kept after: of arms judged at their best length, the mean steps of the models that told most of the "
                "validation pairs; their runs trained as long as the others. Where it is empty, the last models were "
                "judged."
            )
        return caption

    def panels(self, study: Study, frame: pd.DataFrame) -> list[Panel | None]:
        return [
            Panel(f"{dataset} / {backbone}, {rows['split'].iloc[0]}", rows)
            for (dataset, backbone), rows in frame.groupby(["dataset", "backbone"])
        ]

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        names, row = style.names_room([name for panel in panels for name in compared(panel.frame)])
        size = (3.4, row * max(len(panel.frame) for panel in panels))
        return style.Layout(style.columns(len(panels), 2), size, left=names, right=_NUMBERS)

    def legend(self, study: Study, frame: pd.DataFrame) -> list[str]:
        return []

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            f"bars: 95 % interval; filled: different; ring: equivalent within ± {_margin(study, self.endpoint)} "
            "(dotted); hollow: not settled; p: of a difference, or of equivalence, adjusted for all comparisons; grey: "
            "differences that would have been missed in more than one of five such studies"
        )

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look = style.looks(study.arms)
        for y, row in enumerate(records(frame)):
            _draw_row(axes, y, row, look.get(row["reference"], style.Look("0.3", "o", "-")), self.endpoint.scale)
            text = style.wrap_text(_numbers(row, self.endpoint), _NUMBERS - 0.2, style.SMALL)
            axes.text(1.03, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=style.SMALL)
        style.name_rows(axes, compared(frame))
        axes.set_xlabel(f"difference in {self.endpoint.metric}, {self.endpoint.unit}")
        axes.axvline(0, color="0.3", linewidth=1, zorder=1)
        for end in (-1, 1):
            edge = end * self.endpoint.scale * study.margins[self.endpoint.metric]
            axes.axvline(edge, color=style.FAINT, linestyle=":", linewidth=1, zorder=1)
        style.lay_grid(axes, "x")

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        scale, margin = self.endpoint.scale, study.margins[self.endpoint.metric]
        ends = style.fitted(value for _, panel in drawn for value in _shown(panel.frame, scale, margin))
        for axes, _ in drawn:
            axes.set_xlim(*ends)
            style.few_ticks(axes)


def _draw_row(axes: Axes, y: int, row: dict[str, Any], look: style.Look, scale: float) -> None:
    """A comparison's grey bar, interval and difference."""
    difference, lo, hi, missed = (
        scale * row[key] for key in ("difference", "difference_lo", "difference_hi", "detectable")
    )
    if np.isfinite(missed):
        axes.barh(y, 2 * missed, 0.7, left=-missed, color="0.9", linewidth=0, zorder=0.4)
    if np.isfinite(difference):
        axes.plot([lo, hi], [y, y], color=look.colour, linewidth=1.6)
        fill = look.colour if row["verdict"] in (BETTER, WORSE) else "white"
        axes.plot(difference, y, look.marker, color=look.colour, markersize=6, markerfacecolor=fill)
        if row["verdict"] == EQUIVALENT:
            axes.plot(difference, y, "o", color=look.colour, markersize=11, markerfacecolor="none", markeredgewidth=1)


def _shown(frame: pd.DataFrame, scale: float, margin: float) -> np.ndarray:
    """What the axis has to hold of a group's comparisons, in the endpoint's unit: a grey bar may run off it."""
    drawn = frame[["difference", "difference_lo", "difference_hi"]].to_numpy(float)
    return scale * np.append(drawn.ravel(), [-margin, margin])


def _numbers(row: dict[str, Any], endpoint: Endpoint) -> str:
    """The numbers of a row, or why there are none."""
    if not np.isfinite(row["difference"]):
        return f"not compared: {row['not_compared']}"
    scale, spec = endpoint.scale, f"+{endpoint.spec}"
    points, lo, hi = (number(scale * row[key], spec) for key in ("difference", "difference_lo", "difference_hi"))
    if not lo:
        return f"{points} ({row['not_compared']})"
    p = f"p {number(row['p_adjusted'], 'p')}"
    if row["verdict"] == EQUIVALENT:  # its own p: two in a row are too many to read
        p = f"equivalent p {number(row['equivalence_p_adjusted'], 'p')}"
    return f"{points} [{lo}, {hi}], {p}"


def _margin(study: Study, endpoint: Endpoint) -> str:
    """The margin of equivalence with its unit: `1 point`, `0.01 bits`."""
    value = endpoint.scale * study.margins[endpoint.metric]
    unit = endpoint.unit.removesuffix("s") if value == 1 else endpoint.unit
    return f"{number(value, 'g')} {unit}"


class OfInformation(Comparisons):
    """As `Comparisons`, by information."""

    name, title, endpoint = "bit_comparisons", "Declared comparisons: information", INFORMATION
    see = "The same comparisons in bits of information, the second measure."

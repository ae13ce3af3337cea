"""The headline figure: how far each arm is from the reference, with its interval and the band that counts as a tie.

A forest plot as a page has it: a table whose middle column is drawn, in SVG without a size of its own, so that places
are shares of the column's width and texts keep their size on a phone. Numbers are those of the leaderboard. A study of
several datasets or models has a row for each, of the arm in focus.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.ticker import MaxNLocator

from analysis.exhibits import style
from analysis.exhibits.table import anchor, number, points, records
from analysis.inference.pairing import ACCURACY
from analysis.report.glance import against_reference, plain
from analysis.report.page import Forest, Line, Mark
from analysis.study.arm_names import has, method_of
from analysis.study.study import Study

ROOMY = 8  # rows: of more none has a second line
_ENDS = ("difference", "difference_lo", "difference_hi")


def forest(study: Study, board: pd.DataFrame, compared: pd.DataFrame) -> Forest | None:
    """Of the leaderboard's frame, or the declared comparisons where it has no differences; None where both have none.

    compared: of `comparisons.compare`.
    """
    one = len(board[["dataset", "backbone"]].drop_duplicates()) == 1
    title, rows = f"Accuracy against {plain(study.reference)}", _of_arms(study, board) if one else []
    if not any(map(_known, rows)):
        title, rows = _of_comparisons(study, compared)
    if not any(map(_known, rows)):
        return None
    scale, margin = ACCURACY.scale, ACCURACY.scale * study.margins["accuracy"]
    shown = [scale * row[key] for row in rows for key in _ENDS if not math.isnan(row[key])]
    axis = _Axis(*style.fitted([*shown, -margin, margin], least=2 * margin))
    rows.sort(key=lambda row: -row["difference"] if _known(row) else 0.0)
    return Forest(
        title=f"{title}, in points",
        of="arm" if one else "data / model",
        lines=tuple(_line(row, axis, len(rows) <= ROOMY) for row in rows),
        margin=points(margin),
        zero=axis.place(0.0),
        band=(axis.place(-margin), axis.place(margin)),
        ticks=tuple(axis.ticks()),
    )


class _Axis(NamedTuple):
    low: float
    high: float

    def place(self, value: float) -> float:
        """In % of the width."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def ticks(self) -> Iterator[tuple[float, str]]:
        found = [t for t in MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(*self) if self.low < t < self.high]
        whole = all(float(tick).is_integer() for tick in found)
        for tick in found:
            yield self.place(tick), number(tick, "+.0f" if whole else "+.1f")


def _known(row: dict[str, Any]) -> bool:
    return not math.isnan(row["difference"])


def _of_arms(study: Study, board: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each arm of a study of one group, the reference among them."""
    arms = records(board[board["kind"] == "arm"])
    rows = [row for row in arms if _known(row) or has(row["arm"], study.reference)]
    for row in rows:
        row |= {"name": row["arm"], "focus": study.in_focus(row["arm"])}
        row["aside"] = f"{number(100 * row['accuracy'], '.1f')} %"
    return rows


def _of_comparisons(study: Study, compared: pd.DataFrame) -> tuple[str, list[dict[str, Any]]]:
    """A title and a row for each dataset and model, or for each reference where there is one of them."""
    by_accuracy = compared[compared["endpoint"] == ACCURACY.metric]
    if len(by_accuracy[["dataset", "backbone"]].drop_duplicates()) > 1:
        rows = records(against_reference(study, by_accuracy))
        several = len({row["arm"] for row in rows}) > 1
        names = [f"{r['dataset']} / {r['backbone']}" + (f", {r['arm']}" if several else "") for r in rows]
        title = f"Accuracy of {plain(study.focus)} against {plain(method_of(rows[0]['reference']))}"
    else:
        rows = records(by_accuracy)
        names = [f"{row['arm']} against {row['reference']}" for row in rows]
        title = f"Accuracy of {plain(study.focus)} against each other arm"
    named = [row | {"name": name, "aside": "", "focus": False} for row, name in zip(rows, names, strict=True)]
    return title, [row for row in named if _known(row)]


def _line(row: dict[str, Any], axis: _Axis, roomy: bool) -> Line:
    difference, lo, hi = (ACCURACY.scale * row[key] for key in _ENDS)
    known = _known(row)
    return Line(
        arm=row["arm"],
        name=row["name"],
        aside=row["aside"] if roomy else "",
        href=f"#{anchor(row)}",
        difference=number(difference, "+.1f") if known else "reference",
        interval="" if math.isnan(lo) else f"[{number(lo, '+.1f')}, {number(hi, '+.1f')}]",
        focus=row["focus"],
        mark=Mark(axis.place(difference), axis.place(lo), axis.place(hi)) if known else None,
    )

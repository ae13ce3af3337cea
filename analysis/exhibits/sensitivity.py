"""The comparison with the reference at several learning rates and lengths, and which rate suits the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, panels_by
from analysis.exhibits.measures import over_replicates, whole
from analysis.exhibits.table import Column, number, records
from analysis.inference.sensitivity import LENGTH, RATE, SETTINGS, cells, change, hangs_on
from analysis.inference.verdicts import BETTER, EQUIVALENT, WORSE
from analysis.study.arm_names import method_of, value_of, without
from analysis.study.pools import numbers
from analysis.study.study import NothingToShow, Study

_SPREAD = 0.22  # of the place between two rates, from one length to the next


class Rates(Exhibit):
    """A row for each learning rate of the reference: what its models tell of held-out pairs, and which rate is best."""

    name, title = "rates", "Learning rate by held-out information"
    columns = (
        Column("arm", "arm"),
        Column("rate", "learning rate", "g"),
        Column("information", "held-out bits a pair", ".4f", interval=True),
        Column("kept_step", "kept after", ",.0f"),
        Column("replicates", "replicates", "d"),
        Column("choice", "choice"),
    )
    caption = (
        "Information of the validation pairs under the model that is judged, at the temperature that suits these pairs "
        "best: mean over replicates with its 95 % t interval. Chosen is the best mean, of equal ones the smaller rate; "
        "use it for every arm of this backbone. Test pairs had no say. The chosen mean is the best of several and so "
        "flatters itself a little. Kept after: mean steps of the models that were kept, where runs kept their best."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        frame = whole(pd.DataFrame(_rates(study)), "replicates")
        if frame.empty:
            raise NothingToShow(
                f"{study.reference} did not run at several learning rates with validation pairs (python -m mars.run "
                "experiment=rates)"
            )
        return frame


def _rates(study: Study) -> Iterator[dict[str, object]]:
    """Of each group and line of arms that differ in the rate alone, a row a rate."""
    method = method_of(study.reference)
    for _, group in study.groups():
        runs = group.runs.assign(held_out=_held_out(group)).dropna(subset=["held_out"])
        swept = [arm for arm in group.arms if method_of(arm) == method and not math.isnan(value_of(arm, RATE))]
        for line in dict.fromkeys(without(arm, RATE) for arm in swept):
            rows = []
            for arm in sorted((a for a in swept if without(a, RATE) == line), key=lambda a: value_of(a, RATE)):
                own = runs[runs["arm"] == arm]
                by_replicate = own.groupby("replicate")["held_out"].mean()
                row = {**group.runs[["dataset", "backbone"]].iloc[0], "arm": line, "rate": value_of(arm, RATE)}
                kept = numbers(own, "kept_step").mean()
                row |= over_replicates("information", by_replicate)
                rows.append(row | {"kept_step": kept, "replicates": len(by_replicate)})
            known = [row for row in rows if row["replicates"]]
            if len(known) > 1:
                best = max(known, key=lambda row: row["information"])  # the first of equal ones: the smaller rate
                edge = best in (known[0], known[-1])
                best["choice"] = "chosen, at the edge of the grid: try rates beyond it" if edge else "chosen"
                yield from rows


def _held_out(group: Study) -> pd.Series:
    """Of each run the held-out information of the model that is judged, NaN where it did not record any."""
    if "validation_information" not in group.rounds:
        return numbers(group.runs, "kept_information")
    last = group.rounds.sort_values("round", kind="stable").groupby("run")["validation_information"].last()
    return numbers(group.runs, "kept_information").fillna(group.runs["run"].map(last))


class Sensitivity(Exhibit):
    """A row a cell, drawn a panel per dataset × backbone: the difference over the rate, a line for each length."""

    name, title = "sensitivity", "Does the verdict hang on rate and length?"
    see = "Points of one kind in every place say that the verdict hangs neither on the rate nor on the length."
    by = ("dataset", "backbone", "split", "line")
    columns = (
        Column("length", "steps a round", ",.0f"),
        Column("rate", "learning rate", "g"),
        Column("verdict", "verdict"),
        Column("difference", "difference, points", "+.1f", 100, interval=True),
        Column("bits_verdict", "verdict by information"),
        Column("bits", "difference, bits", "+.3f", interval=True),
        Column("replicates", "replicates", "d"),
        Column("not_compared", "not compared"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        frame = cells(study)
        if frame.empty:
            raise NothingToShow(
                f"no arm in focus ran beside {study.reference} at several values of {RATE} and {LENGTH} (python -m "
                "mars.run experiment=sensitivity)"
            )
        return frame.astype({"replicates": "Int64"})

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "The same comparison at several learning rates and lengths; within a cell both arms trained equally long. "
            f"Verdicts are adjusted for all comparisons of the study. {' '.join(dependence(study, frame))}"
        )

    def panels(self, study: Study, frame: pd.DataFrame) -> list[Panel | None]:
        return panels_by(frame, self.by)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(style.columns(len(panels)), (3.6, 2.8), left=0.75)

    def legend(self, study: Study, frame: pd.DataFrame) -> Mapping[str, Artist]:
        return {name: style.handle(look) for name, look in _looks(frame).items()}

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "bars: 95 % interval; filled: different; ring: equivalent; hollow: not settled; dotted: margin of "
            f"equivalence. {' '.join(dependence(study, frame))}"
        )

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        looks, rates = _looks(frame), sorted(frame["rate"].unique())
        lengths = sorted(frame["length"].unique())
        for row in records(frame):
            place = lengths.index(row["length"]) - (len(lengths) - 1) / 2
            _draw_cell(axes, rates.index(row["rate"]) + _SPREAD * place, row, looks[_name(row["length"])])
        axes.axhline(0, color="0.3", linewidth=1, zorder=1)
        for end in (-1, 1):
            axes.axhline(100 * end * frame["margin"].iloc[0], color=style.FAINT, linestyle=":", linewidth=1, zorder=1)
        axes.set_xticks(range(len(rates)), [number(rate, "g") for rate in rates])
        axes.set_xlim(-0.5, len(rates) - 0.5)
        axes.set(xlabel="learning rate", ylabel="difference in accuracy, points")
        style.lay_grid(axes)


def dependence(study: Study, frame: pd.DataFrame) -> Iterator[str]:
    """Of each line of `cells` whether its verdict hangs on rate or length, and what its difference changes by."""
    for (dataset, backbone, line), rows in frame.groupby(["dataset", "backbone", "line"], sort=False):
        counts = rows["verdict"].replace("", "not tested").value_counts(sort=False)
        listed = ", ".join(f"{verdict} in {count}" for verdict, count in counts.items())
        where = [
            f"the {setting} (at {other} {', '.join(number(value, 'g') for value in values)})"
            for setting, other in (("rate", "length"), ("length", "rate"))
            if (values := hangs_on(rows, setting))
        ]
        said = f"depends on {' and '.join(where)}" if where else "depends neither on the rate nor on the length"
        said = said if rows["verdict"].ne("").any() else "is not known"
        yield f"{dataset} / {backbone}, {line}: {listed} of {len(rows)} cells, so the verdict {said}."
        moved = [f"{setting} by {text}" for setting in SETTINGS if (text := _moved(study, rows, setting))]
        if moved:
            yield f"From the least to the largest the difference changes with the {' and with the '.join(moved)}."


def _moved(study: Study, rows: pd.DataFrame, setting: str) -> str:
    """`+0.3 points [−1.0, +1.6]`; empty where nothing is known."""
    mean, lo, hi = (number(100 * end, "+.1f") for end in change(study, rows, setting))
    return f"{mean} points" + (f" [{lo}, {hi}]" if lo else "") if mean else ""


def _name(length: float) -> str:
    return f"{number(length, ',.0f')} steps a round"


def _looks(frame: pd.DataFrame) -> dict[str, style.Look]:
    return style.looks([_name(length) for length in sorted(frame["length"].unique())])


def _draw_cell(axes: Axes, x: float, row: dict[str, object], look: style.Look) -> None:
    """A cell's interval and difference, as in the figure of comparisons."""
    difference, lo, hi = (100 * float(str(row[key])) for key in ("difference", "difference_lo", "difference_hi"))
    if not np.isfinite(difference):
        return
    axes.plot([x, x], [lo, hi], color=look.colour, linewidth=1.6)
    fill = look.colour if row["verdict"] in (BETTER, WORSE) else "white"
    axes.plot(x, difference, look.marker, color=look.colour, markersize=6, markerfacecolor=fill)
    if row["verdict"] == EQUIVALENT:
        axes.plot(x, difference, "o", color=look.colour, markersize=11, markerfacecolor="none", markeredgewidth=1)

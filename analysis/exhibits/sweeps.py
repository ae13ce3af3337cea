"""Accuracy against one setting: how hard MARS steers (τ), and how many rows a round draws.

A line joins the arms of one method that differ in this setting alone. Values stand at equal distances, in their order:
they are usually chosen by factors, with zero and negative ones among them, for which no common scale exists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.by_arm import split_panels
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels, most_replicates
from analysis.exhibits.measures import CHANCE, by_replicate
from analysis.exhibits.table import number
from analysis.study.arm_names import method_of, value_of, without
from analysis.study.study import NothingToShow, Study


class Point(NamedTuple):
    """An arm on a line. rest: what the arms of the line share. value: of the setting."""

    arm: str
    rest: str
    value: float


def points(arms: list[str], setting: str) -> list[Point]:
    """The arms that name the setting, by its value, of methods that ran with several of them."""
    every = (Point(arm, without(arm, setting), value_of(arm, setting)) for arm in arms)
    found = [point for point in every if not math.isnan(point.value)]
    several = {p.rest for p in found if len({q.value for q in found if q.rest == p.rest}) > 1}
    return sorted((p for p in found if p.rest in several), key=lambda p: p.value)


class _Sweep(Exhibit):
    """A panel per dataset × backbone × test split: a line of arms, and the level of uniform sampling."""

    setting = label = command = ""

    def frame(self, study: Study) -> pd.DataFrame:
        swept = points(study.arms, self.setting)
        if not swept:
            raise NothingToShow(f"no arm ran with several values of {self.setting} ({self.command})")
        parts = []
        for title, group, split in split_panels(study)[0]:
            if not (own := points(group.arms, self.setting)):
                continue
            means = by_replicate(group, split, "accuracy").drop_duplicates("arm").set_index("arm")[["mean", "lo", "hi"]]
            lines = [{"line": p.rest, "arm": p.arm, "value": p.value, **means.loc[p.arm]} for p in own]
            levels = [
                {"line": arm, "arm": arm, "value": np.nan, **means.loc[arm]}
                for arm in group.arms
                if method_of(arm) == "uniform" and arm not in {p.arm for p in swept}
            ]
            parts.append((title, pd.DataFrame([*levels, *lines])))
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(style.columns(len(panels)), (3.4, 2.6), left=0.75)

    def legend(self, study: Study, frame: pd.DataFrame) -> list[str]:
        """The levels, then the lines by their first value."""
        swept = points(study.arms, self.setting)
        levels = [arm for arm in study.arms if method_of(arm) == "uniform" and arm not in {p.arm for p in swept}]
        return [*levels, *dict.fromkeys(p.rest for p in swept)]

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        replicates = most_replicates(study, frame.loc[frame["value"].notna(), "arm"])
        bands = style.replicates_key("bands: 95 % interval over replicates", replicates)
        return "; ".join(filter(None, [f"dashed: chance, where the axis reaches it; {bands}", split_panels(study)[1]]))

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look = style.looks(self.legend(study, frame))
        values = sorted(frame["value"].dropna().unique())
        for line, own in frame.dropna(subset=["mean"]).groupby("line", sort=False):
            curve = own[["mean", "lo", "hi"]].to_numpy(float)
            if own["value"].notna().all():
                at = np.array([values.index(value) for value in own["value"]])
                style.band(axes, at, curve, look[str(line)], (0.0, 1.0))
                continue
            ((mean, lo, hi),) = curve
            axes.axhline(mean, color=look[str(line)].colour, linestyle=look[str(line)].line, linewidth=1.2)
            axes.axhspan(max(0.0, lo), min(1.0, hi), color=look[str(line)].colour, alpha=0.12, linewidth=0)
        style.mark(axes, CHANCE)
        axes.set_xticks(range(len(values)), [number(value, "g") for value in values])
        axes.set_xlim(-0.4, len(values) - 0.6)
        style.lay_grid(axes)

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        shown = [np.clip(panel.frame[["mean", "lo", "hi"]].to_numpy(float).ravel(), 0.0, 1.0) for _, panel in drawn]
        span = max((float(np.ptp(known)) for values in shown if len(known := values[np.isfinite(values)])), default=0.0)
        for (axes, _), values in zip(drawn, shown, strict=True):  # one scale, each where its own values are
            axes.set(xlabel=f"{self.label} (values at equal distances)", ylabel="test accuracy")
            axes.set_ylim(*style.fitted(values, least=max(span, 0.02)))


class TauSweep(_Sweep):
    """Accuracy against τ."""

    name, title, setting, label = "tau_sweep", "Accuracy against τ", "tau", "τ"
    see = "Whether steering harder towards low margins helps; a flat line says no."
    command = "python -m mars.run experiment=tau_sweep"
    caption = (
        "How hard to steer: 0 not at all, larger values towards low margins. Uniform sampling, where it ran, is a "
        "level with its interval."
    )


class BudgetSweep(_Sweep):
    """Accuracy against the rows drawn a round."""

    name, title, setting = "budget_sweep", "Accuracy against the budget", "rounds.budget"
    see = "Whether more drawn rows help."
    label, command = "rows drawn a round", "python -m mars.run experiment=budget_sweep"
    caption = "Rows drawn a round. More rows are more optimiser steps unless `rounds.steps` holds them equal."

"""Training as it went: loss, validation accuracy and margin over the rounds, and accuracy against optimiser steps.

Steps are what an arm costs: an arm that takes more of them may win by that alone, so equal steps are on one vertical.
The 95 % interval over seeds is a band for a few arms. Bands of many hide each other: those get a bar after their end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.exhibits import style
from analysis.exhibits.style import FEW, Look
from analysis.figures.by_arm import CHANCE, by_arm
from analysis.study.study import NothingToShow, Study

Curves = dict[str, tuple[np.ndarray, np.ndarray]]  # arm: x [K], mean, lo and hi over seeds [K, 3]


class Measure(NamedTuple):
    """A column of rounds.csv. neutral: what a model that knows nothing gets. bounds: what its values can be."""

    column: str
    label: str
    neutral: float
    bounds: tuple[float, float]


ACCURACY = Measure("validation_accuracy", "validation accuracy", CHANCE, (0.0, 1.0))
MEASURES = (
    Measure("train_loss", "training loss", math.log(2), (0.0, math.inf)),
    ACCURACY,
    Measure("validation_margin_mean", "validation margin (mean Δ)", 0.0, (-math.inf, math.inf)),
)
_NO_ROUNDS = "no run recorded its rounds (rounds.csv has one row a round; run it again with force=true)"


def rounds(study: Study) -> Figure:
    """A row of panels per dataset × backbone: training loss, validation accuracy, mean validation margin by round."""
    measures = [m for m in MEASURES if m.column in study.rounds and study.rounds[m.column].notna().any()]
    groups = [(title, group) for title, group in study.groups() if len(group.rounds)]
    if not measures or not groups:
        raise NothingToShow(_NO_ROUNDS)
    shown = [(title, group, measure) for title, group in groups for measure in measures]
    figure, grid = style.sheet(
        [title for title, _, _ in shown],
        len(measures) if len(measures) > 1 else style.columns(len(shown)),
        (2.9, 2.3),
        left=0.85,
        below=0.5,
        arms=_recorded(study, measures),
        foot=f"dashed: what a coin gets; {_key(study)}",
    )
    for axes, (_, group, measure) in zip(grid, shown, strict=True):
        last = float(group.rounds["round"].max())
        curves = {arm: _by_round(group, arm, measure.column, "round") for arm in group.arms}
        draw_curves(axes, curves, style.looks(study.arms), measure, max(1.0, last))
        axes.set(xlabel="round", ylabel=measure.label)
        ticks = np.asarray(MaxNLocator(nbins=8, integer=True, min_n_ticks=1).tick_values(0, last))
        axes.set_xticks(ticks[(ticks >= 0) & (ticks <= last)])
    return figure


def steps(study: Study) -> Figure:
    """Two panels per dataset × backbone: validation accuracy on the way, and test accuracy at the end."""
    if not len(study.rounds) or not {"steps", ACCURACY.column} <= set(study.rounds):
        raise NothingToShow(_NO_ROUNDS)
    groups = [(title, group) for title, group in study.groups() if len(group.rounds) and group.splits]
    pairs = min(2, len(groups))
    titles = [name for title, group in groups for name in (f"{title}, validation", f"{title}, {group.splits[0]}")]
    figure, grid = style.sheet(
        [*titles, *[None] * (-len(titles) % (2 * pairs))],
        2 * pairs,
        (2.9 if pairs == 1 else 2.4, 2.6),
        left=0.75,
        below=0.5,
        arms=_recorded(study, (ACCURACY,)),
        foot=f"dashed: chance; {_key(study)}; test accuracy is that after all steps, where arms at equal steps "
        "are drawn side by side",
    )
    for (_, group), on_the_way, at_the_end in zip(groups, grid[::2], grid[1::2], strict=True):
        totals = group.rounds.groupby(["arm", "seed"])["steps"].sum()
        look, span = style.looks(study.arms), float(totals.max())
        curves = {arm: _by_round(group, arm, ACCURACY.column, "steps") for arm in group.arms}
        draw_curves(on_the_way, curves, look, ACCURACY, span)
        _end_points(at_the_end, group, totals, look)
        for axes, label in ((on_the_way, "validation accuracy"), (at_the_end, "test accuracy")):
            axes.set(xlabel="optimiser steps", ylabel=label)
            axes.set_xlim(0, axes.dataLim.x1 + 0.05 * span)
    return figure


def draw_curves(axes: Axes, curves: Curves, look: Mapping[str, Look], measure: Measure, span: float) -> None:
    """The arms' curves with their intervals, on a y axis that holds what a coin gets. span: of the x axis."""
    drawn = {arm: curve for arm, curve in curves.items() if len(curve[0])}
    crowded, single = len(drawn) > FEW, all(len(x) == 1 for x, _ in drawn.values())
    end = max((float(x[-1]) for x, _ in drawn.values()), default=0.0)
    shown = [measure.neutral]
    for place, (arm, (x, curve)) in enumerate(drawn.items()):
        aside = 0.025 * place * span
        if single:  # side by side
            style.band(axes, x + aside, curve, look[arm], measure.bounds)
        elif crowded:
            style.band(axes, x, curve * [1, np.nan, np.nan], look[arm])
            style.band(axes, np.array([end + 0.06 * span + aside]), curve[-1:], look[arm], measure.bounds)
        else:
            style.band(axes, x, curve, look[arm], measure.bounds)
        visible = curve if not crowded else np.vstack([curve * [1, np.nan, np.nan], curve[-1:]])
        shown += [*np.clip(visible[np.isfinite(visible)], *measure.bounds)]
    if not drawn:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", **style.ASIDE)
    style.mark(axes, measure.neutral)
    axes.set_ylim(*_limits(shown, measure))
    style.lay_grid(axes)


def _limits(shown: list[float], measure: Measure) -> tuple[float, float]:
    """An accuracy reaches to 1, anything else starts at 0: a difference looks as large as it is."""
    low, high = min(shown), max(shown)
    if measure.bounds == (0.0, 1.0):
        return max(-0.02, low - 0.04), 1.02
    low = min(low, 0.0)
    return (low - 0.05 * (high - low) if low < 0 else 0.0), high + 0.08 * ((high - low) or 1.0)


def _by_round(group: Study, arm: str, column: str, against: str) -> tuple[np.ndarray, np.ndarray]:
    """x [K] and [K, 3] of `column`; x is the round, or the steps done by its end, mean over seeds."""
    rows = group.rounds[group.rounds["arm"] == arm]
    if column not in rows:
        return np.empty(0), np.empty((0, 3))
    table = rows.pivot(index="round", columns="seed", values=column).dropna(how="all")
    x = table.index.to_numpy(float)
    if against == "steps":
        done = rows.pivot(index="round", columns="seed", values="steps").cumsum()
        x = done.mean(axis=1)[table.index].to_numpy(float)
    return x, style.intervals(table.to_numpy(float).T)


def _end_points(axes: Axes, group: Study, totals: pd.Series, look: Mapping[str, Look]) -> None:
    """Test accuracy of each arm over its steps; arms at equal steps stand side by side."""
    at = totals.groupby("arm").mean()
    shown = [CHANCE]
    for arm, values in by_arm(group, group.splits[0], "accuracy").items():
        if not len(values) or arm not in at:
            continue
        equal = [other for other in group.arms if other in at and abs(at[other] - at[arm]) < 1e-9]
        width = min(0.03, 0.25 / len(equal)) * float(at.max())
        x = at[arm] + width * (equal.index(arm) - (len(equal) - 1) / 2)
        curve = style.intervals(values[:, None])
        style.band(axes, np.array([x]), curve, look[arm], (0.0, 1.0))
        shown += [*np.clip(curve[np.isfinite(curve)], 0, 1)]
    style.mark(axes, CHANCE)
    axes.set_ylim(*_limits(shown, ACCURACY))
    style.lay_grid(axes)


def _recorded(study: Study, measures: tuple[Measure, ...] | list[Measure]) -> list[str]:
    """The arms with any of the measures."""
    rows = study.rounds[[m.column for m in measures]].notna().any(axis=1)
    recorded = set(study.rounds.loc[rows, "arm"])
    return [arm for arm in study.arms if arm in recorded]


def _key(study: Study) -> str:
    kind = "bands, or bars after the end" if len(study.arms) > FEW else "bands and bars"
    return style.seeds_key(f"{kind}: 95 % interval over seeds", (study.of(arm) for arm in study.arms))

"""Training as it went: loss, validation accuracy and margin over the rounds, and accuracy against optimiser steps.

Steps are what an arm costs: an arm that takes more of them may win by that alone, so equal steps are on one vertical.
The 95 % interval over replicates is a band for a few arms. Bands of many hide each other: those get a bar after them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels, most_replicates
from analysis.exhibits.measures import CHANCE, by_replicate
from analysis.exhibits.style import FEW, Look
from analysis.inference.lengths import kept_steps
from analysis.study.study import NothingToShow, Study

Curves = dict[str, tuple[np.ndarray, np.ndarray]]  # arm: x [K], mean, lo and hi over replicates [K, 3]


class Measure(NamedTuple):
    """A column of rounds.csv. neutral: what a model that knows nothing gets. bounds: what its values can be."""

    column: str
    label: str
    neutral: float
    bounds: tuple[float, float]


ACCURACY = Measure("validation_accuracy", "validation accuracy", CHANCE, (0.0, 1.0))
TEST_ACCURACY = Measure("accuracy", "test accuracy", CHANCE, (0.0, 1.0))
MEASURES = (
    Measure("train_loss", "training loss", math.log(2), (0.0, math.inf)),
    ACCURACY,
    Measure("validation_margin_mean", "validation margin (mean Δ)", 0.0, (-math.inf, math.inf)),
)
_NO_ROUNDS = "no run recorded its rounds (rounds.csv has one row a round; run it again with force=true)"


class Rounds(Exhibit):
    """A row of panels per dataset × backbone: training loss, validation accuracy, mean validation margin by round."""

    name, title = "rounds", "Training over the rounds"
    see = "Whether training settled, and which arm was ahead on the way."
    caption = (
        "After each round, mean over replicates: training loss over what the arm trained on, accuracy and mean margin "
        "on the held-out validation pairs. Training losses of arms with other rows or weights are not comparable."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        measures = [m for m in MEASURES if m.column in study.rounds and study.rounds[m.column].notna().any()]
        groups = [(title, group) for title, group in study.groups() if len(group.rounds)]
        if not measures or not groups:
            raise NothingToShow(_NO_ROUNDS)
        return in_panels(
            (title, over_rounds(group, m.column).assign(measure=m.column)) for title, group in groups for m in measures
        )

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        measures = len({panel.frame["measure"].iloc[0] for panel in panels})
        return style.Layout(measures if measures > 1 else style.columns(len(panels)), (2.9, 2.3), left=0.85)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        kind = "bands" if frame["round"].nunique() > 1 else "bars"
        return f"dashed: what a coin gets, where the axis reaches it; {_key(study, kind)}"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        measure = next(m for m in MEASURES if m.column == frame["measure"].iloc[0])
        last = float(frame["round"].max())
        draw_curves(axes, _curves(frame, "round"), style.looks(study.arms), measure, max(1.0, last))
        axes.set(xlabel="round", ylabel=measure.label)
        style.whole_ticks(axes, last)


class Steps(Exhibit):
    """Two panels per dataset × backbone: validation accuracy on the way, and test accuracy at the end."""

    name, title = "steps", "Accuracy against optimiser steps"
    see = "Only arms at the same number of steps compare."
    caption = (
        "Does an arm win at equal compute? Validation accuracy over the steps taken so far, and test accuracy over all "
        "of them. Compare arms on one vertical only."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        if not len(study.rounds) or not {"steps", ACCURACY.column} <= set(study.rounds):
            raise NothingToShow(_NO_ROUNDS)
        parts = []
        for title, group in study.groups():
            if len(group.rounds) and group.splits:
                split = group.splits[0]
                on_the_way = over_rounds(group, ACCURACY.column).assign(measure=ACCURACY.column)
                ends = on_the_way.groupby("arm")["steps"].max()
                tested = by_replicate(group, split, "accuracy").drop_duplicates("arm")[["arm", "mean", "lo", "hi"]]
                tested = tested[tested["arm"].isin(ends.index)]
                at = tested["arm"].map(kept_steps(group)).fillna(tested["arm"].map(ends))
                at_the_end = tested.assign(steps=at, measure=TEST_ACCURACY.column)
                parts += [(f"{title}, validation", on_the_way), (f"{title}, {split}", at_the_end)]
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        pairs = min(2, len(panels) // 2)
        return style.Layout(2 * pairs, (2.9 if pairs == 1 else 2.4, 2.6), left=0.75)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        judged = "those kept" if "kept_step" in study.runs else "all steps"
        return (
            f"dashed: chance, where the axis reaches it; {_key(study, 'bands and bars')}; test accuracy is that of "
            f"the model judged, after {judged}, where arms at equal steps are drawn side by side"
        )

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look, span = style.looks(study.arms), float(frame["steps"].max())
        if frame["measure"].iloc[0] == TEST_ACCURACY.column:
            _draw_ends(axes, frame.dropna(subset=["mean"]), look, span)
            axes.set_ylabel(TEST_ACCURACY.label)
        else:
            draw_curves(axes, _curves(frame, "steps"), look, ACCURACY, span)
            axes.set_ylabel(ACCURACY.label)
        axes.set_xlabel("optimiser steps")
        axes.set_xlim(0, axes.dataLim.x1 + 0.05 * span)


def over_rounds(group: Study, column: str) -> pd.DataFrame:
    """arm, round, steps, mean, lo and hi of a column of rounds.csv over replicates; steps: done by the round's end."""
    wanted = {column: group.rounds[column].astype(float), "steps": group.rounds.get("steps", math.nan)}
    rows = group.rounds[["arm", "round", "replicate"]].assign(**wanted)
    table = rows.groupby(["arm", "round", "replicate"]).mean().unstack("replicate").reindex(group.arms, level="arm")
    curve = pd.DataFrame(style.intervals(table[column].to_numpy(float).T), columns=["mean", "lo", "hi"])
    done = pd.DataFrame(table["steps"].groupby("arm").cumsum()).mean(axis=1)
    places = table.index.to_frame(index=False).assign(steps=done.to_numpy(float))
    return pd.concat([places.astype({"round": float}), curve], axis=1)


def _curves(frame: pd.DataFrame, against: str) -> Curves:
    """Of each arm x [K] and mean, lo and hi [K, 3], where it is known."""
    known = frame.dropna(subset=["mean"])
    return {
        str(arm): (own[against].to_numpy(float), own[["mean", "lo", "hi"]].to_numpy(float))
        for arm, own in known.groupby("arm", sort=False)
    }


def draw_curves(axes: Axes, curves: Curves, look: Mapping[str, Look], measure: Measure, span: float) -> None:
    """The arms' curves with their intervals; what a coin gets, where the y axis reaches it. span: of the x axis."""
    drawn = {arm: curve for arm, curve in curves.items() if len(curve[0])}
    crowded, single = len(drawn) > FEW, all(len(x) == 1 for x, _ in drawn.values())
    end = max((float(x[-1]) for x, _ in drawn.values()), default=0.0)
    shown: list[float] = []
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


def _limits(shown: Sequence[float], measure: Measure) -> tuple[float, float]:
    """Accuracies and losses are compared with each other, so the axis fits them; what has a sign is held against 0."""
    if measure.bounds[0] == 0.0:
        return style.fitted(shown)
    low, high = style.fitted([*shown, 0.0])
    return (low if min(shown, default=0.0) < 0 else 0.0), high


def _draw_ends(axes: Axes, frame: pd.DataFrame, look: Mapping[str, Look], most: float) -> None:
    """Test accuracy of each arm over its steps; arms at equal steps stand side by side."""
    for arm, steps in zip(frame["arm"], frame["steps"], strict=True):
        equal = list(frame.loc[(frame["steps"] - steps).abs() < 1e-9, "arm"])
        width = min(0.03, 0.25 / len(equal)) * most
        x = steps + width * (equal.index(arm) - (len(equal) - 1) / 2)
        curve = frame.loc[frame["arm"] == arm, ["mean", "lo", "hi"]].to_numpy(float)
        style.band(axes, np.array([x]), curve, look[arm], (0.0, 1.0))
    shown = np.clip(frame[["mean", "lo", "hi"]].to_numpy(float), 0, 1)
    style.mark(axes, CHANCE)
    axes.set_ylim(*_limits(list(shown.ravel()), TEST_ACCURACY))
    style.lay_grid(axes)


def _key(study: Study, few: str) -> str:
    """What shows the replicates: `few`, or for many arms the bars in place of bands that would hide each other."""
    kind = "bands, or bars after the end" if len(study.arms) > FEW else few
    return style.replicates_key(f"{kind}: 95 % interval over replicates", most_replicates(study, study.arms))

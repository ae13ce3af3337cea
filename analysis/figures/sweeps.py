"""Accuracy against one setting: how hard MARS steers (τ), and how many rows a round draws.

A line joins the arms of one method that differ in this setting alone. Values stand at equal distances, in their order:
they are usually chosen by factors, with zero and negative ones among them, for which no common scale exists.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.exhibits import style
from analysis.exhibits.table import number
from analysis.figures.by_arm import CHANCE, by_arm, test_panels
from analysis.study.study import NothingToShow, Study


class Point(NamedTuple):
    """An arm on a line. rest: what the arms of the line share. value: of the setting."""

    arm: str
    rest: str
    value: float


def tau_sweep(study: Study) -> Figure:
    return _sweep(study, "tau", "τ", "python -m mars.run experiment=tau_sweep")


def budget_sweep(study: Study) -> Figure:
    return _sweep(study, "rounds.budget", "rows drawn a round", "python -m mars.run experiment=budget_sweep")


def points(arms: list[str], setting: str) -> list[Point]:
    """The arms that name the setting, by its value, of methods that ran with several of them."""
    found = []
    for arm in arms:
        method, *named = arm.split()
        values = dict(word.partition("=")[::2] for word in named)
        try:
            value = float(values[setting])
        except (KeyError, ValueError):
            continue
        found.append(Point(arm, " ".join([method, *(w for w in named if w.partition("=")[0] != setting)]), value))
    several = {p.rest for p in found if len({q.value for q in found if q.rest == p.rest}) > 1}
    return sorted((p for p in found if p.rest in several), key=lambda p: p.value)


def _sweep(study: Study, setting: str, label: str, command: str) -> Figure:
    swept = points(study.arms, setting)
    if not swept:
        raise NothingToShow(f"no arm ran with several values of {setting} ({command})")
    panels, foot = test_panels(study)
    panels = [(title, group, split) for title, group, split in panels if points(group.arms, setting)]
    lines = list(dict.fromkeys(p.rest for p in swept))
    level = [arm for arm in study.arms if arm.split()[0] == "uniform" and arm not in {p.arm for p in swept}]
    bands = style.seeds_key(
        "bands: 95 % interval over seeds", (group.of(p.arm) for _, group, _ in panels for p in swept)
    )
    figure, grid = style.sheet(
        [title for title, _, _ in panels],
        style.columns(len(panels)),
        (3.4, 2.6),
        left=0.75,
        below=0.5,
        arms=[*level, *lines],
        foot="; ".join(filter(None, [f"dashed: chance; {bands}", foot])),
    )
    look = style.looks([*level, *lines])
    lowest = min(
        _panel(axes, group, split, points(group.arms, setting), level, look)
        for axes, (_, group, split) in zip(grid, panels, strict=True)
    )
    for axes in grid:
        axes.set(xlabel=f"{label} (values at equal distances)", ylabel="test accuracy")
        axes.set_ylim(max(-0.02, lowest - 0.04), 1.02)
    return figure


def _panel(
    axes: Axes, group: Study, split: str, swept: list[Point], level: list[str], look: dict[str, style.Look]
) -> float:
    """Draws one split; the lowest value shown."""
    accuracy = by_arm(group, split, "accuracy")
    values = sorted({p.value for p in swept})
    shown = [CHANCE]
    for rest in dict.fromkeys(p.rest for p in swept):
        line = [p for p in swept if p.rest == rest]
        measured = [(values.index(p.value), accuracy[p.arm]) for p in line]
        measured = [(x, by_seed) for x, by_seed in measured if len(by_seed)]
        if not measured:
            continue
        curve = np.concatenate([style.intervals(by_seed[:, None]) for _, by_seed in measured])
        style.band(axes, np.array([x for x, _ in measured]), curve, look[rest], (0.0, 1.0))
        shown += [*np.clip(curve[np.isfinite(curve)], 0, 1)]
    for arm in level:
        if len(by_seed := accuracy.get(arm, np.empty(0))):
            ((mean, lo, hi),) = style.intervals(by_seed[:, None])
            axes.axhline(mean, color=look[arm].colour, linestyle=look[arm].line, linewidth=1.2)
            axes.axhspan(max(0.0, lo), min(1.0, hi), color=look[arm].colour, alpha=0.12, linewidth=0)
            shown += [max(0.0, v) for v in (mean, lo) if np.isfinite(v)]
    style.mark(axes, CHANCE)
    axes.set_xticks(range(len(values)), [number(value, "g") for value in values])
    axes.set_xlim(-0.4, len(values) - 0.6)
    style.lay_grid(axes)
    return min(shown)

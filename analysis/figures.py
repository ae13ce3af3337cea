"""Figures of a study: accuracy by arm, margin density, validation accuracy over rounds.

An arm has the same colour, marker and line in every figure (Okabe–Ito, told apart by readers with any colour vision and
in black and white). Accuracy axes show the chance line and reach to 1, so that a point of difference looks like one.
PNG and PDF carry no date: the same study gives the same bytes.
"""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.results import Study
from analysis.stats import mean_interval

CHANCE = 0.5
FEW = 6  # arms whose curves can be told apart where they lie over each other
WIDE = 24  # characters of an arm's name on one line
CHARACTER, LINE = 0.08, 0.17  # inches
MARGIN_BINS = 60  # v1's margin figure: 60 bins between the 1st and the 99th percentile


class Look(NamedTuple):
    colour: str
    marker: str
    line: str


# The palette's yellow cannot be read on white.
_BLACK, _BLUE, _ORANGE, _GREEN, _PINK, _SKY, _RED = (
    "#000000", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
)  # fmt: skip
FIXED = {  # seven colours for eleven arms: those that share one are of a kind, and differ in marker and line
    "none": Look(_BLACK, "s", ":"),
    "none_matched": Look(_BLACK, "*", "-"),
    "uniform": Look(_BLUE, "o", "-"),
    "stratified": Look(_BLUE, "P", ":"),
    "eda": Look(_ORANGE, "^", "--"),
    "won": Look(_GREEN, "v", "-"),
    "west_of_n": Look(_GREEN, "<", ":"),
    "adaboost": Look(_PINK, "X", "-"),
    "self_training": Look(_PINK, ">", ":"),
    "representation": Look(_SKY, "p", "--"),
    "mars": Look(_RED, "D", "-"),
}
_COLOURS, _LINES = (_SKY, _ORANGE, _GREEN, _PINK, _RED, _BLUE, _BLACK), ("-", "--", "-.", ":")
_MARKERS = ("d", "h", "^", "s", "v", "o", "D", "P")


def looks(arms: list[str]) -> dict[str, Look]:
    """Arm to look: this project's by name; others (a method's several settings, …) by order, in what is free."""
    fixed = {(look.colour, look.line) for arm, look in FIXED.items() if arm in arms}
    used = {colour for colour, _ in fixed}
    free = [(c, line) for c, line in itertools.product(_COLOURS, _LINES) if (c, line) not in fixed]
    free.sort(key=lambda look: (look[0] in used, _LINES.index(look[1])))  # new colours before shared ones
    by_order = {}
    for i, arm in enumerate(arm for arm in arms if arm not in FIXED):
        turn, place = divmod(i, len(free))
        colour, line = free[place]
        by_order[arm] = Look(colour, _MARKERS[(place + turn) % len(_MARKERS)], line)
    return {arm: FIXED[arm] if arm in FIXED else by_order[arm] for arm in arms}


def draw(study: Study, directory: Path) -> None:
    """accuracy, margins and validation as .png and .pdf in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, figure in (("accuracy", accuracy(study)), ("margins", margins(study)), ("validation", validation(study))):
        figure.savefig(directory / f"{name}.png", dpi=150)
        figure.savefig(directory / f"{name}.pdf", metadata={"CreationDate": None})
        plt.close(figure)


def accuracy(study: Study) -> Figure:
    """A panel per dataset × backbone × test split, two in a row: mean, 95 % t interval over seeds, seeds as dots."""
    groups, style = list(study.groups()), looks(study.arms)
    shown = [(f"{title}, {split}", group, split) for title, group in groups for split in group.splits]
    columns = min(2, len(shown))
    room, lines = _room(study.arms)
    rows = -(-len(shown) // columns)
    height = max(0.3, LINE * max(lines) + 0.07) * len(study.arms)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(1.2 + columns * (3.2 + room), rows * (height + 0.7) + 0.3),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    lowest = CHANCE
    for axes, (title, group, split) in zip(grid.flat, shown, strict=False):
        lowest = min(lowest, _accuracy_panel(axes, group, split, style))
        axes.set_title(title, fontsize="medium")
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for axes in grid.flat:
        axes.set_xlim(max(-0.02, lowest - 0.04), 1.02)
    figure.supxlabel("pairwise accuracy (dashed: chance; bars: 95 % interval over seeds)", fontsize="medium")
    return figure


def _accuracy_panel(axes: Axes, group: Study, split: str, style: dict[str, Look]) -> float:
    """Draws one split; the lowest value shown."""
    lowest = 1.0
    for y, arm in enumerate(group.arms):
        values = group.values(arm, split, "accuracy").to_numpy()
        if not len(values):
            continue
        mean, lo, hi = mean_interval(values)
        look = style[arm]
        if len(values) > 1:
            axes.plot(values, np.full(len(values), y + 0.25), ".", color=look.colour, alpha=0.35, markeredgewidth=0)
            axes.plot(np.clip([lo, hi], 0, 1), [y, y], color=look.colour, linewidth=1.6)
        axes.plot(mean, y, look.marker, color=look.colour, markersize=6)
        lowest = min(lowest, np.nanmin([lo, *values]))
    axes.axvline(CHANCE, color="0.4", linestyle="--", linewidth=1, zorder=1)
    axes.set_yticks(range(len(group.arms)), [wrapped(arm) for arm in group.arms])
    axes.set_ylim(len(group.arms) - 0.4, -0.6)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return float(lowest)


def margins(study: Study) -> Figure:
    """Density of Δ on the main split by arm, seeds pooled; shares are of all margins, also those outside the window.

    Drawn over each other for a few arms, below each other at one scale for many.
    """
    style, crowded = looks(study.arms), len(study.arms) > FEW
    figure, panels = _panels(study, rows=crowded)
    for (title, group), axes in zip(study.groups(), panels, strict=True):
        pooled = {arm: _margins(group, arm) for arm in group.arms}
        low, high = np.percentile(np.concatenate(list(pooled.values())), [1, 99])
        if low == high:  # a constant scorer still gets a bar
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, MARGIN_BINS + 1)
        width = edges[1] - edges[0]
        density = {arm: np.histogram(values, edges)[0] / (len(values) * width) for arm, values in pooled.items()}
        (_ridges if crowded else _overlaid)(axes, density, edges, style)
        axes.axvline(0, color="0.5", linestyle="--", linewidth=0.8, zorder=len(style) + 2 if crowded else 0)
        axes.set(title=f"{title}, {group.splits[0]}", xlabel="margin Δ = r(chosen) − r(rejected)")
    if not crowded:
        _legend(figure, panels, study.arms)
    return figure


def _overlaid(axes: Axes, density: dict[str, np.ndarray], edges: np.ndarray, style: dict[str, Look]) -> None:
    for arm, values in density.items():
        axes.stairs(values, edges, color=style[arm].colour, linestyle=style[arm].line, linewidth=1.3, label=arm)
    axes.set_ylabel("density")


def _ridges(axes: Axes, density: dict[str, np.ndarray], edges: np.ndarray, style: dict[str, Look]) -> None:
    """A row an arm, named at its base line; the highest bin of all reaches into the row above."""
    scale = 1.3 / max(float(values.max()) for values in density.values())
    for row, (arm, values) in enumerate(density.items()):
        top = -row + scale * values
        axes.stairs(top, edges, baseline=-row, fill=True, color="white", zorder=2 + row)
        axes.stairs(top, edges, baseline=-row, fill=True, color=style[arm].colour, alpha=0.35, zorder=2 + row)
        axes.stairs(top, edges, baseline=-row, color=style[arm].colour, linewidth=1, zorder=2 + row)
    axes.set_yticks([-row for row in range(len(density))], [wrapped(arm) for arm in density])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(0.3 - len(density), 1.4)


def _margins(group: Study, arm: str) -> np.ndarray:
    tables = [group.scores(run, group.splits[0]) for run in group.runs.loc[group.runs["arm"] == arm, "run"]]
    table = pd.concat(tables)
    return (table["chosen_score"] - table["rejected_score"]).to_numpy(float)


def validation(study: Study) -> Figure:
    """Held-out accuracy after each round by arm, mean over seeds.

    The 95 % t interval is a band for a few arms. Bands of many hide each other: those get a bar after the last round.
    """
    style, crowded = looks(study.arms), len(study.arms) > FEW
    figure, panels = _panels(study)
    for (title, group), axes in zip(study.groups(), panels, strict=True):
        shown = [CHANCE, 1.0]
        for place, arm in enumerate(group.arms):
            by_round = group.rounds[group.rounds["arm"] == arm].groupby("round")["validation_accuracy"]
            curve = [(i, *mean_interval(values.dropna().to_numpy())) for i, values in by_round if values.notna().any()]
            if not curve:
                continue
            index, mean, lo, hi = np.array(curve, dtype=float).T
            look = style[arm]
            axes.plot(index, mean, look.line, marker=look.marker, markersize=4, color=look.colour, label=arm)
            lo, hi = np.clip(lo, 0, 1), np.clip(hi, 0, 1)
            if crowded:
                after = index[-1] + (0.06 + 0.025 * place) * max(1.0, index[-1])
                axes.plot([after, after], [lo[-1], hi[-1]], color=look.colour, linewidth=1.3)
                axes.plot(after, mean[-1], look.marker, markersize=4, color=look.colour)
                lo = lo[-1:]
            else:
                axes.fill_between(index, lo, hi, color=look.colour, alpha=0.15, linewidth=0)
            shown += [*mean, *lo[~np.isnan(lo)]]
        axes.axhline(CHANCE, color="0.5", linestyle="--", linewidth=0.8, zorder=0)
        axes.set(title=title, xlabel="round", ylabel="validation accuracy", ylim=(max(-0.02, min(shown) - 0.04), 1.02))
        last = float(group.rounds["round"].max())
        ticks = np.asarray(MaxNLocator(integer=True, min_n_ticks=1).tick_values(0, last))
        axes.set_xticks(ticks[(ticks >= 0) & (ticks <= last)])
    _legend(figure, panels, study.arms)
    return figure


def wrapped(arm: str) -> str:
    """An arm's name over as many lines as keep it from crowding out what it names; a setting stays in one piece."""
    return textwrap.fill(arm, WIDE, break_long_words=False, break_on_hyphens=False)


def _room(arms: list[str]) -> tuple[float, list[int]]:
    """The names' width in inches, and how many lines each takes."""
    lines = [wrapped(arm).splitlines() for arm in arms]
    return CHARACTER * max(len(line) for name in lines for line in name), [len(name) for name in lines]


def _panels(study: Study, rows: bool = False) -> tuple[Figure, list[Axes]]:
    """One panel for each dataset × backbone, side by side, three to a row, with room for what names the arms.

    rows: each panel names its arms itself, one below the other, instead of a legend for all.
    """
    n = len(list(study.groups()))
    across = min(n, 3)
    down = -(-n // across)
    room, lines = _room(study.arms)
    if rows:
        size = across * (4.4 + room), down * max(3.6, max(0.4, LINE * max(lines) + 0.1) * (len(study.arms) + 1))
    else:
        size = 5.0 * across + 0.6 + room, max(down * 3.6, sum(LINE * count + 0.07 for count in lines) + 0.4)
    figure, grid = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for axes in grid.flat[n:]:
        axes.set_axis_off()
    return figure, list(grid.flat[:n])


def _legend(figure: Figure, panels: list[Axes], arms: list[str]) -> None:
    """One legend for all panels, to the right, where no curve can run beneath it."""
    handles: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(str(label), handle)
    shown = [arm for arm in arms if arm in handles]
    if shown:
        names = [wrapped(arm) for arm in shown]
        figure.legend([handles[arm] for arm in shown], names, loc="outside right upper", frameon=False)

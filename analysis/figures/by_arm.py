"""One number an arm: accuracy, AUC, mean margin, SNR, the sections of RewardBench; with its interval and its seeds.

Shares are dots on an axis that holds chance and reaches to 1, so that a point of difference looks like one. What has a
zero of its own is a bar that starts there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.exhibits import style
from analysis.exhibits.style import Look
from analysis.inference.stats import mean_interval
from analysis.study.study import BENCHMARK, NothingToShow, Study
from analysis.tables.records import REWARD_BENCH, partial
from benchmarks.choices import family
from benchmarks.protocol import Benchmark

CHANCE = 0.5
MOST = 12  # panels, before further test splits are left to the tables


class Panel(NamedTuple):
    """values: arm to what each of its seeds measured, [S]; empty where none did. label: of the x axis.

    chance: None where it is not known. unit: panels of one unit have one scale.
    """

    title: str
    values: Mapping[str, np.ndarray]
    label: str
    chance: float | None = None
    unit: str = ""

    @property
    def measured(self) -> bool:
        return any(len(values) for values in self.values.values())


def accuracy(study: Study) -> Figure:
    """A panel per dataset × backbone × test split."""
    panels, foot = _of_splits(study, "accuracy", "pairwise accuracy", CHANCE)
    return _shares(study, panels, foot)


def auc(study: Study) -> Figure:
    """As `accuracy`: how often a chosen response scores higher than a rejected one of any pair."""
    panels, foot = _of_splits(study, "auc", "ROC-AUC of the pooled scores", CHANCE)
    return _shares(study, panels, foot)


def mean_margin(study: Study) -> Figure:
    """Each dataset × backbone at its own scale: margins are in the unit of its models' scores."""
    panels, foot = _of_splits(study, "margin_mean", "mean margin Δ = r(chosen) − r(rejected)", own_unit=True)
    return _bars(study, panels, foot)


def snr(study: Study) -> Figure:
    """Without a unit, so all panels have one scale."""
    panels, foot = _of_splits(study, "snr", "SNR: mean / sd of the margins Δ")
    return _bars(study, panels, foot)


def sections(study: Study) -> Figure:
    """A row of panels per dataset × backbone × RewardBench protocol, a panel per section."""
    every = [(group, title, label, of) for title, group in study.groups() for label, of in family(REWARD_BENCH).items()]
    rows = [panels for one in every if (panels := _sections(*one))]
    if not rows:
        raise NothingToShow(
            "no run was judged on RewardBench (python -m benchmarks.evaluate study=DIR benchmark=reward_bench)"
        )
    across = max(map(len, rows))
    padded = [panel for row in rows for panel in [*row, *[None] * (across - len(row))]]
    return _shares(study, padded, "", across, 1.7)


def test_panels(study: Study) -> tuple[list[tuple[str, Study, str]], str]:
    """(title, group, split) of each panel, and what is left out: further splits where they make too many panels."""
    groups = [(title, group, group.splits) for title, group in study.groups()]
    every = [(f"{title}, {split}", group, split) for title, group, splits in groups for split in splits]
    if len(every) <= MOST:
        return every, ""
    main = [(f"{title}, {splits[0]}", group, splits[0]) for title, group, splits in groups if splits]
    return main, "main test split only, the others are in the tables" if len(main) < len(every) else ""


def by_arm(group: Study, split: str, metric: str, benchmark: str = BENCHMARK) -> dict[str, np.ndarray]:
    """[S] a metric of each arm by seed; empty where it was not measured."""
    m = group.metrics
    rows = m[(m["benchmark"] == benchmark) & (m["split"] == split) & (m["metric"] == metric)].sort_values("seed")
    measured = {str(arm): values.dropna().to_numpy(float) for arm, values in rows.groupby("arm")["value"]}
    return {arm: measured.get(arm, np.empty(0)) for arm in group.arms}


def _of_splits(
    study: Study, metric: str, label: str, chance: float | None = None, own_unit: bool = False
) -> tuple[list[Panel], str]:
    """A panel for each split on which the metric was measured, and what is left out."""
    found, left_out = test_panels(study)
    panels = []
    for title, group, split in found:
        values = by_arm(group, split, metric)
        panels.append(Panel(title, values, label, chance, title.removesuffix(split) if own_unit else ""))
    if not any(panel.measured for panel in panels):
        raise NothingToShow(f"no run has {metric} in its metrics.json (run it again with force=true)")
    return [panel for panel in panels if panel.measured], left_out


def _sections(group: Study, title: str, label: str, benchmark: type[Benchmark]) -> list[Panel]:
    """The panels of a protocol; none where the group was not judged on it."""
    if label not in set(group.metrics["benchmark"]):
        return []
    incomplete = ", not all rows" if partial([run for arm in group.arms for run in group.of(arm)], label) else ""
    panels = [
        Panel(
            f"{title}, {label}{incomplete}: {measure.part.removeprefix('subset/')}",
            by_arm(group, measure.part, measure.metric, label),
            measure.metric,
            measure.chance,
        )
        for measure in benchmark.measures
    ]
    return [panel for panel in panels if panel.measured]


def _shares(
    study: Study, panels: Sequence[Panel | None], foot: str, across: int | None = None, wide: float = 3.0
) -> Figure:
    figure, drawn = _sheet(study, panels, "bars", ["dashed: chance", foot], across, wide)
    lowest = min(_share_panel(axes, panel, style.looks(study.arms)) for axes, panel in drawn)
    for axes, _ in drawn:
        axes.set_xlim(max(-0.02, lowest - 0.04), 1.02)
    return figure


def _share_panel(axes: Axes, panel: Panel, look: Mapping[str, Look]) -> float:
    """Draws a panel; the lowest value shown."""
    lowest = [CHANCE]
    for y, (arm, values) in enumerate(panel.values.items()):
        if not len(values):
            _not_measured(axes, y)
            continue
        mean, lo, hi = mean_interval(values)
        if len(values) > 1:
            axes.plot(np.clip([lo, hi], 0, 1), [y, y], color=look[arm].colour, linewidth=1.6)
            _seeds(axes, values, y + 0.3, look[arm].colour)
        axes.plot(mean, y, look[arm].marker, color=look[arm].colour, markersize=6)
        lowest += [float(np.nanmin([lo, *values]))]
    if panel.chance is not None:
        axes.axvline(panel.chance, color=style.FAINT, linestyle="--", linewidth=1, zorder=1)
        lowest.append(panel.chance)
    return min(lowest)


def _bars(study: Study, panels: Sequence[Panel], foot: str) -> Figure:
    figure, drawn = _sheet(study, panels, "lines", [foot])
    extents: dict[str, list[float]] = {}
    for axes, panel in drawn:
        extents.setdefault(panel.unit, []).extend(_bar_panel(axes, panel, style.looks(study.arms)))
    for axes, panel in drawn:
        low, high = min(extents[panel.unit]), max(extents[panel.unit])
        room = 0.04 * ((high - low) or 1.0)
        axes.set_xlim(low - room if low < 0 else 0, high + room)
    return figure


def _bar_panel(axes: Axes, panel: Panel, look: Mapping[str, Look]) -> list[float]:
    """Draws a panel; the values shown, zero among them."""
    shown = [0.0]
    for y, (arm, values) in enumerate(panel.values.items()):
        if not len(values):
            _not_measured(axes, y)
            continue
        mean, lo, hi = mean_interval(values)
        axes.barh(y, mean, 0.62, color=look[arm].colour, alpha=0.45, linewidth=0)
        if len(values) > 1:
            axes.plot([lo, hi], [y, y], color="0.15", linewidth=1.3)
            _seeds(axes, values, y + 0.2, look[arm].colour, alpha=0.9)
        shown += [*values, *(end for end in (lo, hi) if np.isfinite(end))]
    axes.axvline(0, color="0.3", linewidth=1)
    return shown


def _seeds(axes: Axes, values: np.ndarray, y: float, colour: str, alpha: float = 0.4) -> None:
    axes.plot(values, np.full(len(values), y), ".", color=colour, alpha=alpha, markersize=5, markeredgewidth=0)


def _not_measured(axes: Axes, y: int) -> None:
    axes.text(0.5, y, "not measured", transform=axes.get_yaxis_transform(), ha="center", va="center", **style.ASIDE)


def _sheet(
    study: Study,
    panels: Sequence[Panel | None],
    interval: str,
    feet: Sequence[str],
    across: int | None = None,
    wide: float = 3.0,
) -> tuple[Figure, list[tuple[Axes, Panel]]]:
    """Panels with their arms down the side: named once a row where all panels have the same. interval: its shape."""
    drawn = [panel for panel in panels if panel is not None]
    arms = study.arms
    alike = all(list(panel.values) == arms for panel in drawn)
    names, row = style.names_room(arms)
    by_seed = [values for panel in drawn for values in panel.values.values()]
    key = style.seeds_key(f"{interval}: 95 % interval over seeds; small dots: seeds", by_seed)
    size = (wide, row * max(len(panel.values) for panel in drawn))
    figure, grid = style.sheet(
        [panel and panel.title for panel in panels],
        across or style.columns(len(panels)),
        size,
        left=0.4 if alike else names,
        below=0.5,
        names=max(0.0, names - 0.35) if alike else 0.0,
        foot="; ".join(filter(None, [*feet[:1], key, *feet[1:]])),
    )
    for axes, panel in zip(grid, drawn, strict=True):
        first = axes.get_position().x0 == min(a.get_position().x0 for a in grid)
        style.name_rows(axes, list(panel.values), shown=first or not alike)
        style.lay_grid(axes, "x")
        axes.set_xlabel(panel.label)
    return figure, list(zip(grid, drawn, strict=True))

"""H and G in pictures: over the rounds, by eigenvalue, the bound against the truth, and gains against accuracy.

The two stand side by side everywhere, at one scale where they share a unit: steepness that copies buy shows in H and
not in G. Eigenvalues stand on a logarithmic axis, since a determinant is about ratios; their mean over seeds is
geometric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from analysis.exhibits import style
from analysis.exhibits.table import number
from analysis.inference.curvature import (
    EVERYWHERE,
    GAINS,
    HOW,
    KINDS,
    NO_BOUND,
    correlations,
    points,
    recorded,
    require,
    spectra,
)
from analysis.study.study import NothingToShow, Study

_MOST_POINTS = 4000  # of a panel, before every n-th is drawn


class _Curve(NamedTuple):
    column: str
    label: str
    zero: bool  # whether 0 is a level of its own


def curvature(study: Study) -> Figure:
    """A row of panels per dataset × backbone: log det of H and of G of the mixture, and the gains in both, by round."""
    require(study)
    groups = [(title, group) for title, group in study.groups() if recorded(group)]
    curves = [
        *(_Curve(f"{kind}_mixture_logdet", f"log det {name}, mixture", False) for kind, name in KINDS.items()),
        *(_Curve(gain, name, True) for gain, name in GAINS.items()),
    ]
    curves = [c for c in curves if c.column in study.rounds and study.rounds[c.column].notna().any()]
    arms = _recorded(study, [c.column for c in curves])
    crowded = len(arms) > style.FEW
    key = "95 % interval over seeds, at the last round" if crowded else "bands and bars: 95 % interval over seeds"
    figure, grid = style.sheet(
        [f"{title}, {curve.label}" for title, _ in groups for curve in curves],
        2 if len(curves) > 2 else len(curves),
        (3.2, 2.4),
        left=0.9,
        below=0.5,
        arms=arms,
        foot=f"in nats per direction; dashed: no gain; {style.seeds_key(key, (study.of(arm) for arm in arms))}",
    )
    look = style.looks(study.arms)
    panels = iter(grid)
    for _, group in groups:
        drawn = [(next(panels), curve) for curve in curves]
        for axes, curve in drawn:
            _over_rounds(axes, group, curve, look, crowded)
        gains = [axes for axes, curve in drawn if curve.zero]
        limits = [end for axes in gains for end in axes.get_ylim()]
        for axes in gains:  # H and G at one scale
            axes.set_ylim(min(limits), max(limits))
    return figure


def _over_rounds(axes: Axes, group: Study, curve: _Curve, look: dict[str, style.Look], crowded: bool) -> None:
    last = max(1.0, float(group.rounds["round"].max()))
    place = 0
    for arm in group.arms:
        rows = group.rounds[group.rounds["arm"] == arm]
        by_round = rows.pivot(index="round", columns="seed", values=curve.column).dropna(how="all")
        if by_round.empty:
            continue
        x, measured = by_round.index.to_numpy(float), style.intervals(by_round.to_numpy(float).T)
        style.band(axes, x, measured * [1, np.nan, np.nan] if crowded else measured, look[arm])
        if crowded:
            style.band(axes, np.array([last * (1.05 + 0.025 * place)]), measured[-1:], look[arm])
        place += 1
    if curve.zero:
        style.mark(axes, 0.0)
    axes.set(xlabel="round", ylabel="nats per direction")
    ticks = np.asarray(MaxNLocator(nbins=8, integer=True, min_n_ticks=1).tick_values(0, last))
    axes.set_xticks(ticks[(ticks >= 0) & (ticks <= last)])
    style.lay_grid(axes)


def spectrum(study: Study) -> Figure:
    """A row of panels per dataset × backbone and round (first, last): eigenvalues of H and of G."""
    rows = [(f"{title}, {when}", drawn) for title, group in study.groups() for when, drawn in _spectra(group)]
    if not rows:
        raise NothingToShow(f"no run kept its eigenvalues in spectra.parquet, and W&B has none ({HOW})")
    arms = [arm for arm in study.arms if any(arm in drawn for _, drawn in rows)]
    look = style.looks(study.arms)
    figure, grid = style.sheet(
        [f"{title}, {name}" for title, _ in rows for name in KINDS.values()],
        2,
        (3.6, 2.7),
        left=0.85,
        below=0.5,
        arms=arms,
        foot="with markers: base pairs and drawn rows together; thin, dashed: drawn rows alone; broad, grey: base "
        "pairs, mean over arms; geometric mean over seeds; where G is not defined it is left out",
    )
    panels = iter(grid)
    for _, drawn in rows:
        base = _geometric_mean([table[table["part"] == "base"] for table in drawn.values()])
        for kind, name in KINDS.items():
            axes = next(panels)
            _decline(axes, base, kind, style.Look(style.FAINT, "", "-"), 3.5, 0.45)
            for arm, table in drawn.items():
                _decline(axes, table[table["part"] == "selection"], kind, look[arm]._replace(marker="", line="--"), 0.8)
                _decline(axes, table[table["part"] == "mixture"], kind, look[arm]._replace(line="-"), 1.4)
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "g")))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set(xlabel="direction, by eigenvalue", ylabel=f"eigenvalue of {name}")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
            style.lay_grid(axes)
    return figure


def _decline(axes: Axes, part: pd.DataFrame, kind: str, look: style.Look, wide: float, opaque: float = 1.0) -> None:
    """One spectrum, less what is not defined."""
    known = part[part[kind] > 0]
    axes.plot(
        known["index"] + 1,
        known[kind],
        look.line,
        marker=look.marker,
        markevery=max(1, len(known) // 8),
        color=look.colour,
        markersize=4,
        linewidth=wide,
        alpha=opaque,
    )


def _spectra(group: Study) -> list[tuple[str, dict[str, pd.DataFrame]]]:
    """(which round, {arm: part, index, h, g, mean over seeds}) of the first and the last round."""
    ends: dict[str, dict[str, list[pd.DataFrame]]] = {"first round": {}, "last round": {}}
    several = False
    for arm in group.arms:
        for run in group.of(arm):
            table = spectra(run)
            if table is None or table.empty:
                continue
            first, last = table["round"].min(), table["round"].max()
            several |= bool(first < last)
            for when, end in (("first round", first), ("last round", last)):
                ends[when].setdefault(arm, []).append(table[table["round"] == end])
    found = []
    for when, by_arm in ends.items():
        means = {arm: _geometric_mean(tables) for arm, tables in by_arm.items()}
        if means and (several or when == "last round"):
            found.append((when if several else "one round", means))
    return found


def _geometric_mean(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    both = pd.concat(tables, ignore_index=True)
    positive = both[list(KINDS)].astype(float).where(lambda values: values > 0)
    means = positive.apply(np.log).groupby([both["part"], both["index"]]).mean()
    return means.apply(np.exp).reset_index()


def bound(study: Study) -> Figure:
    """A panel per dataset × backbone: the bound's factor against what it bounds, a point a round of a run."""
    require(study)
    needed = {"bound_factor", "bound_truth", "bound_separated", "bound_gains"}
    groups = [
        (title, group)
        for title, group in study.groups()
        if needed <= set(group.rounds) and group.rounds["bound_truth"].notna().any()
    ]
    if not groups:
        raise NothingToShow(NO_BOUND)
    arms = _recorded(study, ["bound_truth"])
    figure, grid = style.sheet(
        [title for title, _ in groups],
        style.columns(len(groups)),
        (3.4, 3.2),
        left=0.75,
        below=0.5,
        arms=arms,
        foot="a point a round of a run; dashed: the bound, which no point may lie under; dotted: no gain; filled: both "
        "of its conditions hold, with a dot: one, hollow: neither",
    )
    look = style.looks(study.arms)
    for axes, (_, group) in zip(grid, groups, strict=True):
        known = group.rounds.dropna(subset=["bound_truth", "bound_factor"])
        held = (known["bound_separated"] == 1).astype(int) + (known["bound_gains"] == 1).astype(int)
        for arm in group.arms:
            own = known["arm"] == arm
            for conditions in (0, 1, 2):
                at = known[own & (held == conditions)]
                _conditioned(axes, at["bound_factor"], at["bound_truth"], look[arm], conditions)
        ends = known[["bound_factor", "bound_truth"]].to_numpy(float)
        low, high = float(min(ends.min(), 1.0)), float(max(ends.max(), 1.0))
        room = 0.05 * ((high - low) or 1.0)
        axes.plot([low - room, high + room], [low - room, high + room], "--", color=style.FAINT, linewidth=1, zorder=1)
        for line in (axes.axhline, axes.axvline):
            line(1.0, color=style.FAINT, linestyle=":", linewidth=1, zorder=1)
        axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room))
        axes.set(xlabel="the bound's factor", ylabel="smallest generalised eigenvalue")
        style.lay_grid(axes, "both")
    return figure


def _conditioned(axes: Axes, x: pd.Series, y: pd.Series, look: style.Look, conditions: int) -> None:
    fill = look.colour if conditions == 2 else "none"
    axes.plot(x, y, look.marker, color=look.colour, markerfacecolor=fill, markersize=5, alpha=0.7, markeredgewidth=0.8)
    if conditions == 1:
        axes.plot(x, y, ".", color=look.colour, markersize=3, markeredgewidth=0)


def information(study: Study) -> Figure:
    """A row of panels per dataset × backbone: a round's gain in H, and in G, against its change in accuracy."""
    require(study)
    table = correlations(study)
    table = table[(table["outcome"] == "accuracy_change") & (table["dataset"] != EVERYWHERE)]
    groups = []
    for title, group in study.groups():
        own = points(group).dropna(subset=["accuracy_change"]) if recorded(group) else pd.DataFrame()
        own = own.dropna(subset=list(GAINS), how="all") if len(own) else own
        if len(own):
            groups.append((title, group, own))
    if not groups:
        raise NothingToShow(
            "no run has two rounds with curvature and validation pairs (python -m mars.run rounds.number=5)"
        )
    titles = [
        f"{title}, {name}{_rho(table, group, gain)}" for title, group, _ in groups for gain, name in GAINS.items()
    ]
    arms = [arm for arm in study.arms if any((own["arm"] == arm).any() for _, _, own in groups)]
    thinned = max(len(own) for _, _, own in groups) > _MOST_POINTS
    figure, grid = style.sheet(
        titles,
        2,
        (3.4, 2.7),
        left=0.8,
        below=0.5,
        arms=arms,
        foot="a point a round of a run, without its first; ρ: Spearman's within a seed, mean over seeds with its 95 % "
        "interval; dashed: no change" + ("; not every point is drawn" if thinned else ""),
    )
    look = style.looks(study.arms)
    panels = iter(grid)
    for _, group, own in groups:
        shown = own.iloc[:: math.ceil(len(own) / _MOST_POINTS)]
        for gain, name in GAINS.items():
            axes = next(panels)
            for arm in group.arms:
                at = shown[shown["arm"] == arm]
                axes.plot(
                    at[gain],
                    100 * at["accuracy_change"],
                    look[arm].marker,
                    color=look[arm].colour,
                    markersize=4,
                    alpha=0.6,
                    markeredgewidth=0,
                )
            style.mark(axes, 0.0)
            axes.set(xlabel=f"{name}, nats per direction", ylabel="change in accuracy, points")
            style.lay_grid(axes, "both")
    return figure


def _rho(table: pd.DataFrame, group: Study, gain: str) -> str:
    """The correlation of a panel for its title; empty where there is none."""
    dataset, backbone = group.runs[["dataset", "backbone"]].iloc[0]
    return rank_text(table[(table["dataset"] == dataset) & (table["backbone"] == backbone) & (table["gain"] == gain)])


def rank_text(own: pd.DataFrame) -> str:
    """`: ρ +.26 [+.21, +.32]` of the one row of `correlations` that is left; empty where there is none."""
    if own.empty or math.isnan(own["rho"].iloc[0]):
        return ""
    rho, lo, hi = (number(own[name].iloc[0], "+.2f") for name in ("rho", "rho_lo", "rho_hi"))
    return f": ρ {rho}" + (f" [{lo}, {hi}]" if lo else "")


def _recorded(study: Study, columns: Sequence[str]) -> list[str]:
    """The arms with any of the columns."""
    known = study.rounds[[name for name in columns if name in study.rounds]].notna().any(axis=1)
    found = set(study.rounds.loc[known, "arm"])
    return [arm for arm in study.arms if arm in found]

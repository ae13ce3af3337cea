"""Where the budget went: Lorenz curves of the rows a base pair got, and how many it got at its margin.

The first and the last round, because an arm that steers by margins has none worth steering by until it has trained. An
arm on the diagonal is stratified sampling whatever its name, and cannot differ from it in accuracy but by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.exhibits import style
from analysis.exhibits.style import FEW, Look
from analysis.study.study import NothingToShow, Run, Study
from mars.record.run_directory import ALLOCATION, SELECTION

MOST = 4  # datasets × backbones, before the first round is left to the table
GRID = np.linspace(0, 1, 101)
MARGIN_BINS = 12  # of equally many pairs each
_FILES = {ALLOCATION: ["round", "margin", "budget"], SELECTION: ["round", "parent"]}


class Spent(NamedTuple):
    """One run's round. budget: [N] rows drawn from each base pair. margin: [N], NaN where the arm took none."""

    budget: np.ndarray
    margin: np.ndarray


def allocation(study: Study) -> Figure:
    """A row of panels per dataset × backbone: Lorenz curves, then budget against margin, of first and last round."""
    groups = list(study.groups())
    last_only = len(groups) > MOST
    rows = [row for title, group in groups if (row := _row(title, group, last_only))]
    if not rows:
        raise NothingToShow(
            "no arm drew rows, or no run kept which (allocation.parquet: run it again with force=true; W&B has none)"
        )
    wide = max(map(len, rows))
    padded = [panel for row in rows for panel in [*row, *[None] * (wide - len(row))]]
    across = 4 if last_only else wide  # two groups to a row
    drawn = [panel for panel in padded if panel is not None]
    arms = [arm for arm in study.arms if any(arm in panel.arms for panel in drawn)]
    figure, grid = style.sheet(
        [panel and panel.title for panel in padded],
        across,
        (2.3, 2.3),
        left=0.75,
        below=0.5,
        arms=arms,
        foot=("last round only; " if last_only else "")
        + "dashed: every pair gets equally many; "
        + style.seeds_key(
            "mean over seeds" if len(arms) > FEW else "bands: 95 % interval over seeds", (study.of(arm) for arm in arms)
        ),
    )
    for axes, panel in zip(grid, drawn, strict=True):
        (_budgets_at_margins if panel.margins else _lorenz_curves)(
            axes, panel, style.looks(study.arms), len(arms) > FEW
        )
    return figure


def lorenz(budget: np.ndarray) -> np.ndarray:
    """[N + 1, 2] share of the pairs, those with the smallest budgets first, and the share of all rows they got."""
    ordered = np.concatenate([[0.0], np.cumsum(np.sort(budget))])
    return np.column_stack([np.linspace(0, 1, len(ordered)), ordered / ordered[-1]])


class _Panel(NamedTuple):
    title: str
    arms: dict[str, list[Spent]]  # a round of each seed
    margins: bool  # budget against margin


def _row(title: str, group: Study, last_only: bool) -> list[_Panel]:
    """The panels of a group: none where no arm drew rows, one of a kind where there was one round."""
    first: dict[str, list[Spent]] = {}
    last: dict[str, list[Spent]] = {}
    several = False
    for arm in group.arms:
        ends = [found for run in group.of(arm) if (found := _ends(run))]
        if ends:
            first[arm], last[arm] = [one for one, _, _ in ends], [other for _, other, _ in ends]
            several |= any(rounds > 1 for _, _, rounds in ends)
    if not first:
        return []
    rounds = [("first round", first), ("last round", last)] if several else [("one round", first)]
    rounds = rounds[-1:] if last_only else rounds
    panels = [_Panel(f"{title}, {when}", arms, margins=False) for when, arms in rounds]
    for when, arms in rounds:
        if scored := {arm: spent for arm, spent in arms.items() if any(np.isfinite(s.margin).any() for s in spent)}:
            panels.append(_Panel(f"{title}, {when}", scored, margins=True))
    return panels


def _ends(run: Run) -> tuple[Spent, Spent, int] | None:
    """A run's first and last round with rows drawn, and the number of such rounds; None where there is none."""
    table = _table(run)
    if table is None:
        return None
    rounds, budget, margin = (table[column].to_numpy(float) for column in ("round", "budget", "margin"))
    drew = np.unique(rounds[budget > 0])
    if not len(drew):
        return None
    first, last = (Spent(budget[rounds == end], margin[rounds == end]) for end in (drew[0], drew[-1]))
    return first, last, len(drew)


def _table(run: Run) -> pd.DataFrame | None:
    """round, margin and budget of each base pair of a run; older runs kept the rows they drew, and no margins."""
    for name, columns in _FILES.items():
        if file := run.file(name):
            try:
                table = pd.read_parquet(file, columns=columns)
                return table.astype(float) if "budget" in columns else _counted(table, run)
            except (OSError, ValueError, KeyError):  # damaged: the figure goes without this run
                return None
    return None


def _counted(drawn: pd.DataFrame, run: Run) -> pd.DataFrame | None:
    """Budgets from drawn rows and the number of base pairs."""
    if "base_pairs" not in run.rounds or drawn.empty:
        return None
    pairs = int(run.rounds["base_pairs"].max())
    frames = [
        pd.DataFrame({"round": t, "margin": np.nan, "budget": np.bincount(rows["parent"], minlength=pairs)})
        for t, rows in drawn.groupby("round")
    ]
    return pd.concat(frames, ignore_index=True)


def _lorenz_curves(axes: Axes, panel: _Panel, look: dict[str, Look], crowded: bool) -> None:
    axes.plot([0, 1], [0, 1], color=style.FAINT, linestyle="--", linewidth=1)
    for arm, spent in panel.arms.items():
        curves = np.array([np.interp(GRID, *lorenz(s.budget).T) for s in spent])
        _curve(axes, GRID, style.intervals(curves), look[arm], crowded, every=(10, 20))
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    axes.set(xlabel="share of the base pairs, least first", ylabel="share of the drawn rows")
    style.lay_grid(axes, "both")


def _budgets_at_margins(axes: Axes, panel: _Panel, look: dict[str, Look], crowded: bool) -> None:
    for arm, spent in panel.arms.items():
        known = [Spent(s.budget[ok], s.margin[ok]) for s in spent for ok in [np.isfinite(s.margin)] if ok.any()]
        x, by_seed = binned(known)
        _curve(axes, x, style.intervals(by_seed), look[arm], crowded)
    equal = {round(float(s.budget.mean()), 1) for spent in panel.arms.values() for s in spent}
    if len(equal) == 1:
        style.mark(axes, equal.pop())
    axes.set(xlabel="margin Δ before the draw", ylabel="rows drawn per pair")
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    style.lay_grid(axes)


def binned(spent: Sequence[Spent]) -> tuple[np.ndarray, np.ndarray]:
    """Mean margin [K] of bins of equally many pairs, and the mean budget in each, [S, K], NaN where a seed has none."""
    margins = np.concatenate([s.margin for s in spent])
    edges = np.unique(np.quantile(margins, np.linspace(0, 1, MARGIN_BINS + 1)))[1:-1]
    bins = len(edges) + 1

    def means(values: np.ndarray, at: np.ndarray) -> np.ndarray:
        number = np.bincount(at, minlength=bins).astype(float)
        return np.divide(np.bincount(at, values, bins), number, out=np.full(bins, np.nan), where=number > 0)

    x = means(margins, np.searchsorted(edges, margins, side="right"))
    by_seed = np.array([means(s.budget, np.searchsorted(edges, s.margin, side="right")) for s in spent])
    return x[~np.isnan(x)], by_seed[:, ~np.isnan(x)]


def _curve(
    axes: Axes, x: np.ndarray, curve: np.ndarray, look: Look, crowded: bool, every: int | tuple[int, int] = 1
) -> None:
    mean, lo, hi = curve.T
    axes.plot(x, mean, look.line, marker=look.marker, markevery=every, markersize=4, color=look.colour, linewidth=1.4)
    if not crowded:
        axes.fill_between(x, np.maximum(lo, 0), hi, color=look.colour, alpha=0.15, linewidth=0)

"""Where each round spent its budget: the first thing to look at when two arms tie.

With small margins or a small τ the budgets of MARS are those of stratified sampling, and no accuracy can tell the two
apart (protocol.md, section 2). The figure has the first and the last round, because an arm that steers by margins has
none worth steering by until it has trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels, most_replicates
from analysis.exhibits.style import FEW
from analysis.exhibits.table import Column
from analysis.study.study import NothingToShow, Run, Study
from mars.record.layout import ALLOCATION

_BUDGETS = (
    Column("budget_min", "least", ".1f"),
    Column("budget_max", "most", ".1f"),
    Column("share_none", "none %", ".1f", 100),
    Column("top_decile_share", "top tenth gets %", ".1f", 100),
    Column("effective_pairs", "effective pairs", ".0f"),
    Column("steering", "steering %", ".0f", 100),
)


_MARGINS = (
    Column("margin_mean", "margin", ".3f"),
    Column("margin_sd", "sd", ".3f"),
    *(Column(f"margin_q{p:02d}", f"{p} %", ".3f") for p in (5, 25, 50, 75, 95)),
    Column("margin_negative_share", "mis-ranked %", ".1f", 100),
)
MOST = 4  # datasets × backbones, before the first round is left to the table


GRID = np.linspace(0, 1, 101)


MARGIN_BINS = 12  # of equally many pairs each


_LORENZ, _AT_MARGINS = "lorenz", "margins"


class ByRound(Exhibit):
    """Budgets and margins of each round. Steering: in how many runs any pair got over one row above or below B/N."""

    name, title = "allocation", "Budgets and margins by round"
    caption = (
        "Of each round, mean over replicates; only where rows were drawn or margins taken. Rows a base pair got, least "
        "and most; share of pairs with none; share of the rows that the tenth with most got (10 if all got as many); "
        "effective pairs: exp of the entropy of the shares; steering: share of the runs in which any pair got more "
        "than one row above or below the mean, without which this is stratified sampling. Margins of the base pairs as "
        "the round began: mean, population sd, quantiles, and the share below zero."
    )
    columns = (
        Column("arm", "arm"),
        Column("round", "round", "d"),
        Column("replicates", "replicates", "d"),
        *_BUDGETS,
        *_MARGINS,
    )

    def frame(self, study: Study) -> pd.DataFrame:
        names = [c.key for c in (*_BUDGETS, *_MARGINS) if c.key in study.rounds]
        known = study.rounds.dropna(subset=names, how="all")
        if known.empty or not names:
            raise NothingToShow("no arm drew rows or took margins (method=uniform draws, method=mars does both)")
        parts = []
        for _, group in study.groups():
            known = group.rounds.dropna(subset=names, how="all")
            by_round = known.groupby(["dataset", "backbone", "arm", "round"])
            means = by_round[names].mean().assign(replicates=by_round["replicate"].nunique())
            parts.append(means.reindex(group.arms, level="arm").reset_index())
        frame = pd.concat(parts, ignore_index=True)
        return frame[["dataset", "backbone", "arm", "round", "replicates", *names]]


class Spent(NamedTuple):
    """One run's round. budget: [N] rows drawn from each base pair. margin: [N], NaN where the arm took none."""

    budget: np.ndarray
    margin: np.ndarray


class Allocation(Exhibit):
    """A row of panels per dataset × backbone: Lorenz curves, then budget against margin, of first and last round.

    An arm on the diagonal is stratified sampling whatever its name: only chance sets their accuracies apart.
    """

    name, title = "allocation", "Where the budget went"
    see = "A curve below the diagonal spends the budget on few pairs; the other panels say on which margins."
    caption = (
        "Lorenz curves: the share of the drawn rows that went to the base pairs with the fewest; on the diagonal all "
        "get equally many. Budget against margin: rows drawn per pair, in bins of equally many pairs, of the arms that "
        "take margins. First and last round in which rows were drawn."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """kind `lorenz`: x and mean are shares of pairs and of rows; kind `margins`: a margin, and rows per pair."""
        last_only = _last_only(study)
        parts, row = [], 0
        for title, group in study.groups():
            own = _panels(title, group, last_only)
            parts += [(heading, rows.assign(row=row)) for heading, rows in own]
            row += bool(own)
        if not parts:
            raise NothingToShow(
                "no arm drew rows, or no run kept which (allocation.parquet: run it again with force=true; W&B has "
                "none)"
            )
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        rows = pd.Series([panel.frame["row"].iloc[0] for panel in panels]).value_counts()
        across = 4 if _last_only(study) else int(rows.max())  # 4: two groups to a row
        return style.Layout(2 if len(rows) == 1 and across == 4 else across, (2.3, 2.3), left=0.75)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        arms = self.legend(study, frame)
        key = "mean over replicates" if len(arms) > FEW else "bands: 95 % interval over replicates"
        last = "last round only; " if _last_only(study) else ""
        return f"{last}dashed: every pair gets equally many; {style.replicates_key(key, most_replicates(study, arms))}"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look, lorenz_curves = style.looks(study.arms), frame["kind"].iloc[0] == _LORENZ
        if lorenz_curves:
            axes.plot([0, 1], [0, 1], color=style.FAINT, linestyle="--", linewidth=1)
        for arm, own in frame.groupby("arm", sort=False):
            x, mean, lo, hi = own[["x", "mean", "lo", "hi"]].to_numpy(float).T
            line, marker, colour = look[str(arm)].line, look[str(arm)].marker, look[str(arm)].colour
            every = (10, 20) if lorenz_curves else 1
            axes.plot(x, mean, line, marker=marker, markevery=every, markersize=4, color=colour, linewidth=1.4)
            axes.fill_between(x, np.maximum(lo, 0), hi, color=colour, alpha=0.15, linewidth=0)
        if lorenz_curves:
            axes.set(xlim=(0, 1), ylim=(0, 1.01))
            axes.set(xlabel="share of the base pairs, least first", ylabel="share of the drawn rows")
            style.lay_grid(axes, "both")
            return
        even = float(frame["even"].iloc[0])
        if not math.isnan(even):
            style.mark(axes, even)
        axes.set(xlabel="margin Δ before the draw", ylabel="rows drawn per pair")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))  # so that long numbers do not run into each other
        style.lay_grid(axes)

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        """Bands of many arms hide each other, so that these are drawn without."""
        crowded = len({arm for _, panel in drawn for arm in panel.frame["arm"]}) > FEW
        for axes, panel in drawn:
            for bands in list(axes.collections) if crowded else []:
                bands.remove()
            if panel.frame["kind"].iloc[0] == _AT_MARGINS:
                axes.relim()
                axes.autoscale_view()
                axes.set_ylim(0, 1.05 * axes.get_ylim()[1])


def _last_only(study: Study) -> bool:
    """Whether the first round is left to the table, for want of room."""
    return len(list(study.groups())) > MOST


def _panels(title: str, group: Study, last_only: bool) -> list[tuple[str, pd.DataFrame]]:
    """(title, rows) of the panels of a group: none where no arm drew rows, one of a kind where there was one round."""
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
    panels = [(f"{title}, {when}", _lorenz_rows(arms)) for when, arms in rounds]
    for when, arms in rounds:
        if scored := {arm: spent for arm, spent in arms.items() if any(np.isfinite(s.margin).any() for s in spent)}:
            panels.append((f"{title}, {when}", _margin_rows(scored)))
    return panels


def lorenz(budget: np.ndarray) -> np.ndarray:
    """[N + 1, 2] share of the pairs, those with the smallest budgets first, and the share of all rows they got."""
    ordered = np.concatenate([[0.0], np.cumsum(np.sort(budget))])
    return np.column_stack([np.linspace(0, 1, len(ordered)), ordered / ordered[-1]])


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
    """round, margin and budget of each base pair of a run; None where they are not there."""
    try:
        file = run.file(ALLOCATION)
        return pd.read_parquet(file, columns=["round", "margin", "budget"]).astype(float) if file else None
    except (OSError, ValueError, KeyError):  # damaged: the figure goes without this run
        return None


def _rows(kind: str, arm: str, x: np.ndarray, by_replicate: np.ndarray) -> pd.DataFrame:
    """kind, arm, x [K], and mean, lo and hi over replicates of [S, K]."""
    rows = pd.DataFrame(style.intervals(by_replicate), columns=["mean", "lo", "hi"])
    return rows.assign(kind=kind, arm=arm, x=x)[["kind", "arm", "x", "mean", "lo", "hi"]]


def _lorenz_rows(arms: dict[str, list[Spent]]) -> pd.DataFrame:
    curves = {arm: np.array([np.interp(GRID, *lorenz(s.budget).T) for s in spent]) for arm, spent in arms.items()}
    return pd.concat(
        [_rows(_LORENZ, arm, GRID, by_replicate) for arm, by_replicate in curves.items()], ignore_index=True
    )


def _margin_rows(arms: dict[str, list[Spent]]) -> pd.DataFrame:
    """With `even`: the rows a pair would get if all got equally many; NaN where arms drew unlike numbers."""
    parts = []
    for arm, spent in arms.items():
        known = [Spent(s.budget[ok], s.margin[ok]) for s in spent for ok in [np.isfinite(s.margin)] if ok.any()]
        parts.append(_rows(_AT_MARGINS, arm, *budget_by_margin(known)))
    equal = {round(float(s.budget.mean()), 1) for spent in arms.values() for s in spent}
    return pd.concat(parts, ignore_index=True).assign(even=equal.pop() if len(equal) == 1 else math.nan)


def budget_by_margin(spent: Sequence[Spent]) -> tuple[np.ndarray, np.ndarray]:
    """Mean margin [K] of bins of equally many pairs, and the mean budget in each, [R, K]; NaN where a run has none."""
    margins = np.concatenate([s.margin for s in spent])
    edges = np.unique(np.quantile(margins, np.linspace(0, 1, MARGIN_BINS + 1)))[1:-1]
    bins = len(edges) + 1

    def means(values: np.ndarray, at: np.ndarray) -> np.ndarray:
        number = np.bincount(at, minlength=bins).astype(float)
        return np.divide(np.bincount(at, values, bins), number, out=np.full(bins, np.nan), where=number > 0)

    x = means(margins, np.searchsorted(edges, margins, side="right"))
    by_replicate = np.array([means(s.budget, np.searchsorted(edges, s.margin, side="right")) for s in spent])
    return x[~np.isnan(x)], by_replicate[:, ~np.isnan(x)]

"""The paper's bound against the truth: what it promises of the mixture's Hessian, and what that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels
from analysis.exhibits.measures import arm_rows
from analysis.exhibits.table import Column
from analysis.inference.curvature import NO_BOUND, require
from analysis.study.study import NothingToShow, Study

_HELD = {  # how many of the bound's two conditions: how a point says it
    2: "filled: both of its conditions hold",
    1: "with a dot: one of its conditions holds",
    0: "hollow: none of its conditions holds",
}
_NEEDED = {"bound_factor", "bound_truth", "bound_separated", "bound_gains"}


class ByArm(Exhibit):
    """Of each arm, how often the bound's conditions hold, and its factor beside the truth."""

    name, title = "bound", "The bound against the truth"
    caption = (
        "H of the mixture is at least (1 + λ(κσ′(m_L)/σ′(m_H) − 1)) times H of the base pairs, as matrices, where no "
        "drawn row has |Δ| above m_L, no base pair one below m_H, and the drawn rows cover κ times what base pairs do. "
        "Shares of all rounds of all runs: margins separated; factor above 1, without which the bound promises no "
        "gain; both; and truth not below the factor, which is the theorem. Truth: the smallest generalised eigenvalue "
        "of the two matrices. Factor and truth: median [least, most]; the rest: medians."
    )
    columns = (
        Column("arm", "arm"),
        Column("separated", "m_L < m_H, %", ".0f", 100),
        Column("gains", "κσ′(m_L) > σ′(m_H), %", ".0f", 100),
        Column("both", "both, %", ".0f", 100),
        Column("holds", "truth ≥ factor, %", ".0f", 100),
        Column("factor", "factor", ".3f", interval=True),
        Column("truth", "truth", ".3f", interval=True),
        Column("low", "m_L", ".2f"),
        Column("high", "m_H", ".2g"),
        Column("kappa", "κ", ".3f"),
        Column("share", "λ", ".2f"),
        Column("rounds", "rounds", ",d"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        require(study)
        found = {group: _by_arm(group.rounds) for _, group in study.groups()}
        rows = [row | _bound(found[group][arm]) for group, arm, row in arm_rows(study) if arm in found[group]]
        if not rows:
            raise NothingToShow(NO_BOUND)
        return pd.DataFrame(rows)


def _by_arm(rounds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What is known of the bound in each round in which an arm drew rows."""
    if "bound_truth" not in rounds:
        return {}
    of_bound = [name for name in rounds if str(name).startswith("bound_")]
    known = rounds.dropna(subset=["bound_truth"])[["arm", *of_bound]]
    return {str(arm): rows for arm, rows in known.groupby("arm")}


def _bound(known: pd.DataFrame) -> dict[str, Any]:
    """An arm's numbers."""
    separated, gains = known["bound_separated"] == 1, known["bound_gains"] == 1
    row: dict[str, Any] = {
        "separated": separated.mean(),
        "gains": gains.mean(),
        "both": (separated & gains).mean(),
        "holds": (known["bound_holds"] == 1).mean(),
        "rounds": len(known),
    }
    for name in ("factor", "truth"):
        values = known[f"bound_{name}"]
        row |= {name: values.median(), f"{name}_lo": values.min(), f"{name}_hi": values.max()}
    return row | {name: known[f"bound_{name}"].median() for name in ("low", "high", "kappa", "share")}


class Bound(Exhibit):
    """A panel per dataset × backbone: the bound's factor against what it bounds, a point a round of a run."""

    name, title = "bound", "The bound against the truth"
    see = "Points right of 1 are rounds in which the paper's bound promises a gain."
    caption = (
        "What the paper's bound promises of the mixture's Hessian, and what it is: the smallest generalised eigenvalue "
        "of H with the drawn rows against H of the base pairs. Left of 1 the bound promises nothing. "
        "Its conditions: margins separated (m_L < m_H), and κ·σ′(m_L) > σ′(m_H)."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """conditions: how many of the bound's two hold."""
        require(study)
        parts = []
        for title, group in study.groups():
            if set(group.rounds) >= _NEEDED and group.rounds["bound_truth"].notna().any():
                known = group.rounds.dropna(subset=["bound_truth", "bound_factor"])
                held = known["bound_separated"].eq(1).astype(int) + known["bound_gains"].eq(1).astype(int)
                rows = known[["arm", "seed", "round"]].assign(
                    factor=known["bound_factor"], truth=known["bound_truth"], conditions=held
                )
                parts.append((title, rows))
        if not parts:
            raise NothingToShow(NO_BOUND)
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(style.columns(len(panels)), (3.4, 3.2), left=0.75)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        held = [words for conditions, words in _HELD.items() if frame["conditions"].eq(conditions).any()]
        lines = ("dashed: the bound, which no point may lie under", "dotted: no gain")
        return "; ".join(("a point a round of a run", *lines, *held))

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look = style.looks(study.arms)
        for arm in (arm for arm in study.arms if arm in set(frame["arm"])):
            for conditions in (0, 1, 2):
                own = frame[(frame["arm"] == arm) & (frame["conditions"] == conditions)]
                fill = look[arm].colour if conditions == 2 else "none"
                at: dict[str, Any] = {"color": look[arm].colour, "markerfacecolor": fill, "alpha": 0.7}
                axes.plot(own["factor"], own["truth"], look[arm].marker, markersize=5, markeredgewidth=0.8, **at)
                if conditions == 1:
                    dot: dict[str, Any] = {"color": look[arm].colour, "markersize": 3, "markeredgewidth": 0}
                    axes.plot(own["factor"], own["truth"], ".", **dot)
        ends = frame[["factor", "truth"]].to_numpy(float)
        low, high = float(min(ends.min(), 1.0)), float(max(ends.max(), 1.0))
        room = 0.05 * ((high - low) or 1.0)
        axes.plot([low - room, high + room], [low - room, high + room], "--", color=style.FAINT, linewidth=1, zorder=1)
        for line in (axes.axhline, axes.axvline):
            line(1.0, color=style.FAINT, linestyle=":", linewidth=1, zorder=1)
        axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room))
        axes.set(xlabel="the bound's factor", ylabel="smallest generalised eigenvalue")
        style.few_ticks(axes)
        style.lay_grid(axes, "both")

"""Does curvature, or information, go with accuracy? Gains in H and in G against what they were to bring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels, most_replicates
from analysis.exhibits.table import Column, number
from analysis.inference.curvature import (
    EVERYWHERE,
    GAINS,
    OUTCOMES,
    correlations,
    finals,
    has_curvature,
    points,
    require,
)
from analysis.inference.regimes import split_arm
from analysis.study.naming import place
from analysis.study.study import NothingToShow, Study

_MOST_POINTS = 4000  # of a panel, before every n-th is drawn


class Correlations(Exhibit):
    """Rank correlations of the gains with accuracy, of rounds and of whole runs."""

    name, title = "information", "Does curvature or information go with accuracy?"
    columns = (
        Column("gain", "of"),
        Column("outcome", "with"),
        Column("rho", "ρ", "+.2f", interval=True),
        Column("within", "ρ within rounds", "+.2f", interval=True),
        Column("points", "points", ".0f"),
        Column("replicates", "replicates", "d"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        require(study)
        frame = correlations(study)
        if frame.empty:
            raise NothingToShow(
                "too few points to correlate, for want of arms or rounds (python -m mars.run -m method=uniform,mars)"
            )
        return frame.assign(
            gain=frame["gain"].map(GAINS),
            outcome=[OUTCOMES[name].name.format(reference=study.reference) for name in frame["outcome"]],
        )

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "Spearman's rank correlation of a round's gain in H and in G (log det, mixture against base pairs) with "
            "what the round did to the held-out pairs, over a replicate's arms and rounds (less those that chose their "
            "rows by these pairs); and of a run's mean gain with its test accuracy, both less "
            f"{study.reference}'s, over a replicate's arms, where arms may be compared. Mean over replicates with its "
            "95 % t interval. Within rounds: the same without what all arms of a round and kind of variants have in "
            "common, such as early rounds gaining more. Points: of a replicate. Correlation over a study's few arms is "
            "weak evidence: whatever else sets two arms apart moves both numbers. Nothing is tested."
        )


class OfRounds(Exhibit):
    """A row of panels per dataset × backbone: a round's gain in H, and in G, against its change in accuracy."""

    name, title = "information", "Gains against accuracy"
    see = "Whether rounds with a larger gain were followed by better accuracy; a slope says yes."
    caption = (
        "A round's gain in H, and in G, against what the round did to held-out accuracy. Correlation over a study's "
        "few arms is weak evidence: whatever else sets two arms apart moves both numbers."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        require(study)
        table = correlations(study)
        table = table[(table["outcome"] == "accuracy_change") & (table["dataset"] != EVERYWHERE)]
        parts = []
        for title, group in study.groups():
            own = points(group).dropna(subset=["accuracy_change"]) if has_curvature(group) else pd.DataFrame()
            own = own.dropna(subset=list(GAINS), how="all") if len(own) else own
            for gain, name in GAINS.items() if len(own) else ():
                rows = own[["arm", "replicate", "round"]].assign(
                    kind=name, gain=own[gain], accuracy_change=own["accuracy_change"]
                )
                parts.append((f"{title}, {name}{_rho(table, group, gain)}", rows))
        if not parts:
            raise NothingToShow(
                "no run has two rounds with curvature and validation pairs (python -m mars.run rounds.number=5)"
            )
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(2, (3.4, 2.7), left=0.8)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        thinned = "; not every point is drawn" if frame["panel"].value_counts().max() > _MOST_POINTS else ""
        rho = _rho_key(frame, "within a replicate", "mean over replicates with its 95 % interval")
        return f"a point a round of a run, without its first; dashed: no change{rho}{thinned}"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look, shown = style.looks(study.arms), frame.iloc[:: math.ceil(len(frame) / _MOST_POINTS)]
        for arm in (arm for arm in study.arms if arm in set(shown["arm"])):
            own = shown[shown["arm"] == arm]
            dot: dict[str, Any] = {"color": look[arm].colour, "markersize": 4, "alpha": 0.6, "markeredgewidth": 0}
            axes.plot(own["gain"], 100 * own["accuracy_change"], look[arm].marker, **dot)
        style.mark(axes, 0.0)
        axes.set(xlabel=f"{frame['kind'].iloc[0]}, nats per direction", ylabel="change in accuracy, points")
        style.few_ticks(axes)
        style.lay_grid(axes, "both")


class OfArms(Exhibit):
    """Accuracy less the reference's against the gains in H and in G less the reference's; gold accuracy where known.

    One point an arm of each kind of data and variants, so that what these do to every arm is no part of it.
    """

    name, title = "gains", "What goes with accuracy: curvature or information?"
    see = "Whether arms that gained more curvature or information also gained accuracy."
    caption = (
        "Accuracy of an arm less the reference's, against its mean gain in H (the average Hessian, which the paper "
        "raises) and in G (information per label), less the reference's. Nothing is tested."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """kind, group, arm, strategy: the arm without its variants; gain and accuracy: means over replicates."""
        require(study)
        cells = [
            own.assign(group=title)
            for title, group in study.groups()
            if has_curvature(group) and len(own := finals(group))
        ]
        known = pd.concat(cells) if cells else pd.DataFrame(columns=["gold_accuracy"])
        metric = "gold_accuracy" if known["gold_accuracy"].notna().any() else "accuracy"
        known = known.dropna(subset=[metric, *GAINS], how="any") if cells else known
        if known.empty:
            raise NothingToShow(
                f"no arm beside {study.reference} may be compared with it in curvature and accuracy "
                "(python -m mars.run experiment=matched)"
            )
        means = known.groupby(["group", "arm"], as_index=False)[[metric, *GAINS]].mean()
        means["strategy"] = [split_arm(arm)[1] for arm in means["arm"]]
        table = correlations(study)
        table = table[table["outcome"] == metric]
        if EVERYWHERE in set(table["dataset"]):
            table = table[table["dataset"] == EVERYWHERE]
        parts = []
        for gain, name in GAINS.items():
            own = means[["group", "arm", "strategy"]].assign(
                kind=name, measure=metric, gain=means[gain], accuracy=means[metric]
            )
            parts.append((f"{name}{rank_text(table[table['gain'] == gain])}", own))
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(2, (3.2, 3.0), left=0.75)

    def legend(self, study: Study, frame: pd.DataFrame) -> list[str]:
        return sorted(frame["strategy"].unique(), key=place)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        several = frame["group"].nunique() > 1
        kinds, over = (" of each kind of data and variants", "kinds of data and ") if several else ("", "")
        means = ", mean over replicates" if most_replicates(study, frame["arm"]) > 1 else ""
        interval = f"mean over {over}replicates with its 95 % interval"
        rho = _rho_key(frame, "over the arms of a replicate", interval)
        return f"a point an arm{kinds}{means}; all less {study.reference}{rho}"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        looks = style.looks(self.legend(study, frame))
        gold = frame["measure"].iloc[0] == "gold_accuracy"
        for strategy, own in frame.groupby("strategy"):
            look = looks[str(strategy)]
            axes.plot(own["gain"], 100 * own["accuracy"], look.marker, color=look.colour, markersize=5, alpha=0.75)
        style.mark(axes, 0.0)
        axes.axvline(0.0, color=style.FAINT, linestyle="--", linewidth=1, zorder=1)
        axes.set_xlabel(f"{frame['kind'].iloc[0]} − {study.reference}, nats per direction")
        axes.set_ylabel(f"{'accuracy against the true reward' if gold else 'test accuracy'}, points")
        style.few_ticks(axes)
        style.lay_grid(axes, "both")


def _rho_key(frame: pd.DataFrame, of: str, mean: str) -> str:
    """What a foot says of the titles' ρ; empty where none has one. mean: said where replicates give an interval."""
    titles = frame["title"]
    if not titles.str.contains(": ρ ", regex=False).any():
        return ""
    return f"; ρ: Spearman's {of}" + (f", {mean}" if titles.str.contains(r": ρ \S+ \[").any() else "")


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

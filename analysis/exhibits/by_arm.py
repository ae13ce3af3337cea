"""One number an arm: accuracy, AUC, mean margin, SNR, and the sections of RewardBench draw with the same two classes.

Shares are dots on axes that fit them, all of one span, so that a point of difference looks alike in every panel. What
has a zero of its own is a bar that starts there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels
from analysis.exhibits.measures import CHANCE, by_replicate
from analysis.study.study import NothingToShow, Study

MOST = 12  # panels, before further test splits are left to the tables
EACH_REPLICATE = "Mean and 95 % t interval over replicates, each a small dot."


def split_panels(study: Study) -> tuple[list[tuple[str, Study, str]], str]:
    """(title, group, split) of each panel, and what is left out: further splits where they make too many panels."""
    groups = [(title, group, group.splits) for title, group in study.groups()]
    every = [(f"{title}, {split}", group, split) for title, group, splits in groups for split in splits]
    if len(every) <= MOST:
        return every, ""
    main = [(f"{title}, {splits[0]}", group, splits[0]) for title, group, splits in groups if splits]
    return main, "main test split only, the others are in the tables" if len(main) < len(every) else ""


class _ByArm(Exhibit):
    """One metric of each arm, arms down the side of every panel, named once a row where all panels have the same.

    metric: of metrics.json. label: of the x axis. interval: the shape of the 95 % interval. wide: inches of a panel.
    """

    metric = label = interval = ""
    wide = 3.0

    def frame(self, study: Study) -> pd.DataFrame:
        parts = [
            (title, by_replicate(group, split, self.metric).assign(unit=title.removesuffix(split), label=self.label))
            for title, group, split in split_panels(study)[0]
        ]
        known = [(title, rows) for title, rows in parts if rows["value"].notna().any()]
        if not known:
            raise NothingToShow(f"no run has {self.metric} in its metrics.json (run it again with force=true)")
        return in_panels(known)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        names, row = style.names_room(study.arms)
        alike = _alike(study, panels)
        size = (self.wide, row * max(panel.frame["arm"].nunique() for panel in panels))
        across = style.columns(len(panels))
        if "row" in panels[0].frame:
            across = int(pd.Series([panel.frame["row"].iloc[0] for panel in panels]).value_counts().max())
        return style.Layout(across, size, left=0.4 if alike else names, names=max(0.0, names - 0.35) if alike else 0.0)

    def legend(self, study: Study, frame: pd.DataFrame) -> list[str]:
        return []

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        replicates = int(frame.groupby(["panel", "arm"])["value"].count().max())
        return style.replicates_key(
            f"{self.interval}: 95 % interval over replicates; small dots: replicates", replicates
        )

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look = style.looks(study.arms)
        for y, (arm, own) in enumerate(frame.groupby("arm", sort=False)):
            if own["value"].isna().all():
                axes.text(
                    0.5,
                    y,
                    "not measured",
                    transform=axes.get_yaxis_transform(),
                    ha="center",
                    va="center",
                    **style.ASIDE,
                )
            else:
                self.arm(axes, y, own, look[str(arm)])

    def arm(self, axes: Axes, y: int, own: pd.DataFrame, look: style.Look) -> None:
        """Draw one arm's mean, interval and replicates in its row `y`."""
        raise NotImplementedError

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        alike = _alike(study, [panel for _, panel in drawn])
        leftmost = min(axes.get_position().x0 for axes, _ in drawn)
        for axes, panel in drawn:
            shown = axes.get_position().x0 == leftmost or not alike
            style.name_rows(axes, list(panel.frame["arm"].unique()), shown=shown)
            style.lay_grid(axes, "x")
            axes.set_xlabel(str(panel.frame["label"].iloc[0]))


def _alike(study: Study, panels: Sequence[Panel]) -> bool:
    """Whether every panel has all arms of the study."""
    return all(list(panel.frame["arm"].unique()) == study.arms for panel in panels)


def _replicates(axes: Axes, own: pd.DataFrame, y: float, colour: str, alpha: float = 0.4) -> None:
    values = own["value"]
    axes.plot(values, np.full(len(values), y), ".", color=colour, alpha=alpha, markersize=5, markeredgewidth=0)


class Shares(_ByArm):
    """A share of each arm. Panels span as much as the one that needs most, each around its own arms."""

    interval = "bars"

    def frame(self, study: Study) -> pd.DataFrame:
        return super().frame(study).assign(chance=CHANCE).drop(columns="unit")

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        left_out = split_panels(study)[1] if self.metric else ""
        parts = ["dashed: chance, where the axis reaches it", super().foot(study, frame), left_out]
        return "; ".join(filter(None, parts))

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        super().panel(axes, study, frame)
        chance = float(frame["chance"].iloc[0])
        if not math.isnan(chance):
            axes.axvline(chance, color=style.FAINT, linestyle="--", linewidth=1, zorder=1)

    def arm(self, axes: Axes, y: int, own: pd.DataFrame, look: style.Look) -> None:
        mean, lo, hi = own[["mean", "lo", "hi"]].iloc[0]
        if len(own) > 1:
            axes.plot(np.clip([lo, hi], 0, 1), [y, y], color=look.colour, linewidth=1.6)
            _replicates(axes, own, y + 0.3, look.colour)
        axes.plot(mean, y, look.marker, color=look.colour, markersize=6)

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        super().finish(study, drawn)
        shown = [np.clip(panel.frame[["value", "lo", "hi"]].to_numpy(float).ravel(), 0, 1) for _, panel in drawn]
        span = max(float(np.nanmax(values) - np.nanmin(values)) for values in shown)
        for (axes, _), values in zip(drawn, shown, strict=True):
            axes.set_xlim(*style.fitted(values, least=max(span, 0.02)))
            style.few_ticks(axes, 5 if self.wide > 2 else 3)


class Accuracy(Shares):
    """Accuracy of each arm on every test split."""

    name, title, metric, label = "accuracy", "Pairwise accuracy", "accuracy", "pairwise accuracy"
    see = "How often each arm's model scores the preferred reply higher; further right is better."
    caption = (
        f"{EACH_REPLICATE} Every panel spans as many points, around its own arms. Intervals of two arms say little "
        "about their difference, which is taken on the same replicates and pairs: see the comparisons."
    )


class Auc(Shares):
    """As `Accuracy`: how often a chosen response scores higher than a rejected one of any pair."""

    name, title, metric, label = "auc", "ROC-AUC", "auc", "ROC-AUC of the pooled scores"
    see = "How well one threshold parts all preferred replies from all others; further right is better."
    caption = f"How often a chosen response scores higher than a rejected one of any pair. {EACH_REPLICATE}"


class Bars(_ByArm):
    """A metric that has a zero of its own, with one scale for all panels.

    own_scale: one for each dataset × backbone instead, as for what is in the unit of a model's scores.
    """

    interval = "lines"
    own_scale = False

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return "; ".join(filter(None, [super().foot(study, frame), split_panels(study)[1]]))

    def arm(self, axes: Axes, y: int, own: pd.DataFrame, look: style.Look) -> None:
        mean, lo, hi = own[["mean", "lo", "hi"]].iloc[0]
        axes.barh(y, mean, 0.62, color=look.colour, alpha=0.45, linewidth=0)
        if len(own) > 1:
            axes.plot([lo, hi], [y, y], color="0.15", linewidth=1.3)
            _replicates(axes, own, y + 0.2, look.colour, alpha=0.9)

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        super().finish(study, drawn)
        shown = pd.concat([panel.frame for _, panel in drawn])
        for axes, panel in drawn:
            axes.axvline(0, color="0.3", linewidth=1)
            alike = shown[shown["unit"] == panel.frame["unit"].iloc[0]] if self.own_scale else shown
            ends = alike[["value", "lo", "hi"]].to_numpy(float)
            low, high = float(np.nanmin([*ends.ravel(), 0.0])), float(np.nanmax([*ends.ravel(), 0.0]))
            room = 0.04 * ((high - low) or 1.0)
            axes.set_xlim(low - room if low < 0 else 0, high + room)


class Bits(Bars):
    """Information of each arm: what a model tells of a label."""

    name, title, metric = "bits", "Information", "information"
    see = "How much each model tells of a label, its own doubt included; a longer bar is better."
    label = "information, bits a pair"
    caption = (
        "1 − log-loss in bits at the temperature of held-out pairs: 1 knows every label, 0 knows nothing. "
        f"{EACH_REPLICATE}"
    )


class MeanMargin(Bars):
    """Mean margin of each arm, each dataset × backbone at its own scale."""

    name, title, metric, own_scale = "mean_margin", "Mean margin", "margin_mean", True
    see = "How far ahead the preferred reply is on average; long bars may be mere stretch, so look at SNR too."
    label = "mean margin Δ = r(chosen) − r(rejected)"
    caption = (
        f"{EACH_REPLICATE} In the units of the scores, which an arm can stretch without ranking any pair better: "
        "comparable within a dataset and backbone only."
    )


class Snr(Bars):
    """Signal-to-noise ratio of each arm: without a unit, so all panels have one scale."""

    name, title, metric = "snr", "Signal-to-noise ratio of the margins", "snr"
    see = "How far ahead the preferred reply is, measured by how much that varies; a longer bar is better."
    label = "SNR: mean / sd of the margins Δ"
    caption = f"Mean / population sd of Δ. {EACH_REPLICATE}"

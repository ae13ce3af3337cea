"""The distribution of the margins Δ = r(chosen) − r(rejected) on the main test split, and whether σ(Δ) can be believed.

Both pool the runs of an arm. A few arms are drawn over each other; of many, the densities stand below each other and
the reliability is a map of its error, because ten curves over each other are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels
from analysis.exhibits.style import FEW, Look
from analysis.exhibits.table import number
from analysis.study.study import NothingToShow, Study
from benchmarks.metrics import ECE_BINS, confidence_bins, correctness, wilson

MARGIN_BINS = 60  # v1's margin figure: 60 bins between the 1st and the 99th percentile


SMALL_BIN = 30  # pairs below which a bin's accuracy is drawn faint


class _ByArm(Exhibit):
    """Many arms are named beside their rows, so that a legend is for few."""

    def legend(self, study: Study, frame: pd.DataFrame) -> Sequence[str] | Mapping[str, Artist]:
        return [] if len(study.arms) > FEW else super().legend(study, frame)


class Margins(_ByArm):
    """Density of the margins, runs pooled; shares are of all margins, also of those outside the window."""

    name, title = "margins", "Margins by arm"
    see = "The more of an arm's curve lies right of the dashed line, the more pairs it ranks as labelled."
    caption = (
        "Density of Δ = r(chosen) − r(rejected) on the main test split, runs pooled; 60 bins from the 1st to the 99th "
        "percentile of all arms. Right of the dashed line the pair is ranked as labelled."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        return in_panels((title, _densities(pooled)) for title, pooled in _pooled(study).items())

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        names, row = style.names_room(study.arms)
        across = style.columns(len(panels))
        if len(study.arms) > FEW:
            return style.Layout(across, (3.8, max(2.6, 1.25 * row * (len(study.arms) + 1))), left=names + 0.1)
        return style.Layout(across, (3.8, 2.6), left=0.75)

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        crowded, look = len(study.arms) > FEW, style.looks(study.arms)
        edges = np.unique(frame[["low", "high"]].to_numpy(float))
        density = {str(arm): own["density"].to_numpy(float) for arm, own in frame.groupby("arm", sort=False)}
        if crowded:
            _draw_ridges(axes, density, edges, look)
        else:
            for arm, values in density.items():
                axes.stairs(values, edges, color=look[arm].colour, linestyle=look[arm].line, linewidth=1.3)
            axes.set_ylabel("density")
            axes.set_yticks([])  # the shapes are compared; a density is in units that say nothing
        front = len(study.arms) + 2 if crowded else 0
        axes.axvline(0, color=style.FAINT, linestyle="--", linewidth=0.8, zorder=front)
        axes.set_xlabel("margin Δ = r(chosen) − r(rejected)")


class Reliability(_ByArm):
    """Accuracy of the predicted winner against the confidence σ(|Δ|) in it, in the bins of the calibration error."""

    name, title = "reliability", "Reliability"
    see = "A model whose accuracy equals its confidence is as often right as it says; with less it is too sure."
    caption = (
        "Accuracy of the predicted winner where the model is that confident in it, σ(|Δ|) in 15 bins, runs pooled, "
        "before any temperature. Where accuracy is below confidence the model is too sure of itself."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        parts = []
        for title, pooled in _pooled(study).items():
            bins = []
            for arm, values in pooled.items():
                rows = pd.DataFrame(reliability_bins(values), columns=["pairs", "confidence", "accuracy"])
                rows.insert(0, "arm", arm)
                rows.insert(1, "bin", range(ECE_BINS))
                bins.append(rows)
            parts.append((title, pd.concat(bins, ignore_index=True)))
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        if len(study.arms) > FEW:
            names, row = style.names_room(study.arms)
            size = (5.2, row * max(panel.frame["arm"].nunique() for panel in panels))
            return style.Layout(style.columns(len(panels), 2), size, left=names)
        return style.Layout(style.columns(len(panels)), (3.2, 3.2), left=0.75)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        if len(study.arms) > FEW:
            return (
                "colour and number: accuracy − confidence in points, violet where the model is too sure of itself; "
                f"grey: fewer than {SMALL_BIN} pairs in the bin; blank: none"
            )
        return f"dashed: calibrated; thin lines: 95 % interval (Wilson); faint: fewer than {SMALL_BIN} pairs in the bin"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        axes.set_xlabel("confidence in the predicted winner")
        if len(study.arms) > FEW:
            _draw_map(axes, frame)
            return
        axes.plot([0.5, 1], [0.5, 1], color=style.FAINT, linestyle="--", linewidth=1)
        for arm, own in frame.groupby("arm", sort=False):
            bins = own[["pairs", "confidence", "accuracy"]].to_numpy(float)
            _draw_reliability(axes, bins, style.looks(study.arms)[str(arm)])
        axes.set(xlim=(0.49, 1.01), ylim=(-0.02, 1.02), ylabel="accuracy")
        style.lay_grid(axes, "both")


def reliability_bins(margins: np.ndarray) -> np.ndarray:
    """[ECE_BINS, 3] pairs, mean confidence and accuracy of each bin of confidence on [½, 1]; NaN where it is empty."""
    confidence, bins = confidence_bins(margins)
    pairs = np.bincount(bins, minlength=ECE_BINS).astype(float)
    sums = [np.bincount(bins, values, ECE_BINS) for values in (confidence, correctness(margins))]
    means = [np.divide(total, pairs, out=np.full(ECE_BINS, np.nan), where=pairs > 0) for total in sums]
    return np.column_stack([pairs, *means])


def _pooled(study: Study) -> dict[str, dict[str, np.ndarray]]:
    """{panel's title: {arm: margins of all its runs}} on the main split, of what has scores that are numbers."""
    panels = {}
    for title, group in study.groups():
        if not group.splits:
            continue
        split = group.splits[0]
        found = {arm: _margins(group, arm, split) for arm in group.arms}
        if kept := {arm: values for arm, values in found.items() if len(values)}:
            panels[f"{title}, {split}"] = kept
    if not panels:
        raise NothingToShow(
            "no run has scores/in_distribution.parquet (W&B holds none: give the directory of the runs)"
        )
    return panels


def _margins(group: Study, arm: str, split: str) -> np.ndarray:
    values = [np.empty(0)]
    for run in group.of(arm):
        if split in run.scores:
            values.append(run.scores[split]["chosen_score"] - run.scores[split]["rejected_score"])
    pooled = np.concatenate(values)
    return pooled[np.isfinite(pooled)]


def _densities(pooled: dict[str, np.ndarray]) -> pd.DataFrame:
    """arm, low, high, density: a row for each bin of each arm's margins [N]."""
    low, high = np.percentile(np.concatenate(list(pooled.values())), [1, 99])
    if low == high:  # a constant scorer still gets a bar
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, MARGIN_BINS + 1)
    parts = []
    for arm, values in pooled.items():
        density = np.histogram(values, edges)[0] / (len(values) * (edges[1] - edges[0]))
        parts.append(pd.DataFrame({"arm": arm, "low": edges[:-1], "high": edges[1:], "density": density}))
    return pd.concat(parts, ignore_index=True)


def _draw_ridges(axes: Axes, density: dict[str, np.ndarray], edges: np.ndarray, look: dict[str, Look]) -> None:
    """A row an arm, named at its base line; the highest bin of all reaches into the row above."""
    scale = 1.3 / max(1e-12, *(float(values.max()) for values in density.values()))
    for row, (arm, values) in enumerate(density.items()):
        top, colour = -row + scale * values, look[arm].colour
        fill: dict[str, Any] = {"facecolor": style.lighter(colour), "edgecolor": colour}
        axes.stairs(top, edges, baseline=-row, fill=True, linewidth=1, zorder=2 + row, **fill)
    axes.set_yticks([-row for row in range(len(density))], [style.wrap_name(arm) for arm in density])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(0.3 - len(density), 1.4)


def _draw_reliability(axes: Axes, bins: np.ndarray, look: Look) -> None:
    """Dots with their intervals, joined where the bins hold enough pairs. bins: [B, 3] of `reliability_bins`."""
    bins = bins[bins[:, 0] > 0]
    pairs, confidence, accuracy = bins.T
    axes.plot(confidence, np.where(pairs < SMALL_BIN, np.nan, accuracy), look.line, color=look.colour, linewidth=1.2)
    for many in (True, False):
        rows = (pairs >= SMALL_BIN) == many
        alpha = 1.0 if many else 0.25
        ends = np.array([wilson(a * n, int(n)) for n, a in zip(pairs[rows], accuracy[rows], strict=True)])
        axes.vlines(confidence[rows], *ends.reshape(-1, 2).T, color=look.colour, linewidth=0.7, alpha=0.6 * alpha)
        axes.plot(confidence[rows], accuracy[rows], look.marker, color=look.colour, markersize=4, alpha=alpha)


def _draw_map(axes: Axes, frame: pd.DataFrame) -> None:
    """Arms down, bins across: accuracy − confidence as colour, in points where a cell has room for them."""
    arms = list(frame["arm"].unique())
    edges = np.linspace(0.5, 1, ECE_BINS + 1)
    pairs, confidence, accuracy = (
        frame.pivot(index="arm", columns="bin", values=name).loc[arms].to_numpy(float)
        for name in ("pairs", "confidence", "accuracy")
    )
    gap = 100 * (accuracy - confidence)  # [arms, bins]
    small = (pairs < SMALL_BIN) & (pairs > 0)
    rows = np.arange(len(arms) + 1) - 0.5
    axes.pcolormesh(edges, rows, np.where(small, np.nan, gap), cmap="PuOr_r", vmin=-30, vmax=30)
    axes.pcolormesh(edges, rows, np.where(small, 0.0, np.nan), cmap="Greys", vmin=-0.15, vmax=1)
    for i, j in np.argwhere(np.isfinite(gap)):
        shade = "white" if abs(gap[i, j]) > 20 and not small[i, j] else "0.2"
        x = (edges[j] + edges[j + 1]) / 2
        axes.text(x, i, number(gap[i, j], "+.0f"), ha="center", va="center", fontsize=7, color=shade)
    style.name_rows(axes, arms)

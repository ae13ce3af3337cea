"""The distribution of the margins Δ = r(chosen) − r(rejected) on the main test split, and whether σ(Δ) can be believed.

Both pool the seeds of an arm. A few arms are drawn over each other; of many, the densities stand below each other and
the reliability is a map of its error, because ten curves over each other are none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.exhibits import style
from analysis.exhibits.style import FEW, Look
from analysis.exhibits.table import number
from analysis.study.study import NothingToShow, Study
from benchmarks.metrics import ECE_BINS, confidence_bins, correctness, wilson

MARGIN_BINS = 60  # v1's margin figure: 60 bins between the 1st and the 99th percentile
SMALL_BIN = 30  # pairs below which a bin's accuracy is drawn faint


def margins(study: Study) -> Figure:
    """Shares are of all margins, also of those outside the window."""
    panels = _pooled(study)
    arms, crowded = study.arms, len(study.arms) > FEW
    names, row = style.names_room(arms)
    figure, grid = style.sheet(
        list(panels),
        style.columns(len(panels)),
        (3.8, max(2.6, 1.25 * row * (len(arms) + 1)) if crowded else 2.6),
        left=names + 0.1 if crowded else 0.75,
        below=0.5,
        arms=() if crowded else _drawn(panels, arms),
    )
    for axes, pooled in zip(grid, panels.values(), strict=True):
        low, high = np.percentile(np.concatenate(list(pooled.values())), [1, 99])
        if low == high:  # a constant scorer still gets a bar
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, MARGIN_BINS + 1)
        spread = edges[1] - edges[0]
        density = {arm: np.histogram(values, edges)[0] / (len(values) * spread) for arm, values in pooled.items()}
        (_ridges if crowded else _overlaid)(axes, density, edges, style.looks(arms))
        axes.axvline(0, color=style.FAINT, linestyle="--", linewidth=0.8, zorder=len(arms) + 2 if crowded else 0)
        axes.set_xlabel("margin Δ = r(chosen) − r(rejected)")
    return figure


def reliability(study: Study) -> Figure:
    """Accuracy of the predicted winner against the confidence σ(|Δ|) in it, in the bins of the calibration error."""
    panels = _pooled(study)
    arms = study.arms
    if len(arms) > FEW:
        return _reliability_maps(panels, arms)
    figure, grid = style.sheet(
        list(panels),
        style.columns(len(panels)),
        (3.2, 3.2),
        left=0.75,
        below=0.5,
        arms=_drawn(panels, arms),
        foot=f"dashed: calibrated; thin lines: 95 % interval (Wilson); faint: fewer than {SMALL_BIN} pairs in the bin",
    )
    for axes, pooled in zip(grid, panels.values(), strict=True):
        axes.plot([0.5, 1], [0.5, 1], color=style.FAINT, linestyle="--", linewidth=1)
        for arm, values in pooled.items():
            _reliability_curve(axes, reliability_bins(values), style.looks(arms)[arm])
        axes.set(xlim=(0.49, 1.01), ylim=(-0.02, 1.02))
        axes.set(xlabel="confidence in the predicted winner", ylabel="accuracy")
        style.lay_grid(axes, "both")
    return figure


def reliability_bins(margins: np.ndarray) -> np.ndarray:
    """[ECE_BINS, 3] pairs, mean confidence and accuracy of each bin of confidence on [½, 1]; NaN where it is empty."""
    confidence, bins = confidence_bins(margins)
    pairs = np.bincount(bins, minlength=ECE_BINS).astype(float)
    sums = [np.bincount(bins, values, ECE_BINS) for values in (confidence, correctness(margins))]
    means = [np.divide(total, pairs, out=np.full(ECE_BINS, np.nan), where=pairs > 0) for total in sums]
    return np.column_stack([pairs, *means])


def _pooled(study: Study) -> dict[str, dict[str, np.ndarray]]:
    """{panel's title: {arm: margins of all its seeds}} on the main split, of what has scores that are numbers."""
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


def _drawn(panels: Mapping[str, Mapping[str, np.ndarray]], arms: list[str]) -> list[str]:
    """The arms that are in any panel."""
    return [arm for arm in arms if any(arm in pooled for pooled in panels.values())]


def _overlaid(axes: Axes, density: dict[str, np.ndarray], edges: np.ndarray, look: Mapping[str, Look]) -> None:
    for arm, values in density.items():
        axes.stairs(values, edges, color=look[arm].colour, linestyle=look[arm].line, linewidth=1.3)
    axes.set_ylabel("density")
    axes.set_yticks([])  # the shapes are compared; a density is in units that say nothing


def _ridges(axes: Axes, density: dict[str, np.ndarray], edges: np.ndarray, look: Mapping[str, Look]) -> None:
    """A row an arm, named at its base line; the highest bin of all reaches into the row above."""
    scale = 1.3 / max(1e-12, *(float(values.max()) for values in density.values()))
    for row, (arm, values) in enumerate(density.items()):
        top = -row + scale * values
        colour = look[arm].colour
        light = style.lighter(colour)
        axes.stairs(
            top, edges, baseline=-row, fill=True, facecolor=light, edgecolor=colour, linewidth=1, zorder=2 + row
        )
    axes.set_yticks([-row for row in range(len(density))], [style.wrapped(arm) for arm in density])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(0.3 - len(density), 1.4)


def _reliability_curve(axes: Axes, bins: np.ndarray, look: Look) -> None:
    """Dots with their intervals, joined where the bins hold enough pairs."""
    bins = bins[bins[:, 0] > 0]
    pairs, confidence, accuracy = bins.T
    axes.plot(confidence, np.where(pairs < SMALL_BIN, np.nan, accuracy), look.line, color=look.colour, linewidth=1.2)
    for many in (True, False):
        rows = (pairs >= SMALL_BIN) == many
        alpha = 1.0 if many else 0.25
        ends = np.array([wilson(a * n, int(n)) for n, a in zip(pairs[rows], accuracy[rows], strict=True)])
        axes.vlines(confidence[rows], *ends.reshape(-1, 2).T, color=look.colour, linewidth=0.7, alpha=0.6 * alpha)
        axes.plot(confidence[rows], accuracy[rows], look.marker, color=look.colour, markersize=4, alpha=alpha)


def _reliability_maps(panels: Mapping[str, Mapping[str, np.ndarray]], arms: list[str]) -> Figure:
    """Arms down, bins across: accuracy − confidence as colour, in points where a cell has room for them."""
    names, row = style.names_room(arms)
    figure, grid = style.sheet(
        list(panels),
        style.columns(len(panels), 2),
        (5.2, row * max(map(len, panels.values()))),
        left=names,
        below=0.5,
        foot="colour and number: accuracy − confidence in points, violet where the model is too sure of itself; "
        f"grey: fewer than {SMALL_BIN} pairs in the bin; blank: none",
    )
    edges = np.linspace(0.5, 1, ECE_BINS + 1)
    for axes, pooled in zip(grid, panels.values(), strict=True):
        pairs, confidence, accuracy = np.stack(
            [reliability_bins(values) for values in pooled.values()], axis=2
        ).swapaxes(0, 1)
        gap = 100 * (accuracy - confidence).T  # [arms, bins]
        small = (pairs.T < SMALL_BIN) & (pairs.T > 0)
        rows = np.arange(len(pooled) + 1) - 0.5
        axes.pcolormesh(edges, rows, np.where(small, np.nan, gap), cmap="PuOr_r", vmin=-30, vmax=30)
        axes.pcolormesh(edges, rows, np.where(small, 0.0, np.nan), cmap="Greys", vmin=-0.15, vmax=1)
        for i, j in np.argwhere(np.isfinite(gap)):
            shade = "white" if abs(gap[i, j]) > 20 and not small[i, j] else "0.2"
            x = (edges[j] + edges[j + 1]) / 2
            axes.text(x, i, number(gap[i, j], "+.0f"), ha="center", va="center", fontsize=7, color=shade)
        style.name_rows(axes, list(pooled))
        axes.set_xlabel("confidence in the predicted winner")
    return figure

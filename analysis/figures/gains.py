"""Does an arm that gains curvature, or information, gain accuracy? All kinds of data and variants in two panels.

One point an arm of a cell, mean over seeds of its difference to the reference on both axes, so that what the cell does
to every arm is no part of it.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.exhibits import style
from analysis.figures.curvature import rank_text
from analysis.inference.curvature import EVERYWHERE, GAINS, correlations, finals, recorded, require
from analysis.inference.regimes import split_arm
from analysis.study.naming import place
from analysis.study.study import NothingToShow, Study


def gains(study: Study) -> Figure:
    """Accuracy less the reference's against the gains in H and in G less the reference's; gold accuracy where known."""
    require(study)
    cells = [
        own.assign(group=title) for title, group in study.groups() if recorded(group) and len(own := finals(group))
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
    strategies = sorted(means["strategy"].unique(), key=place)
    table = correlations(study)
    table = table[table["outcome"] == metric]
    if EVERYWHERE in set(table["dataset"]):
        table = table[table["dataset"] == EVERYWHERE]
    word = "accuracy against the true reward" if metric == "gold_accuracy" else "test accuracy"
    figure, panels = style.sheet(
        [f"{name}{rank_text(table[table['gain'] == gain])}" for gain, name in GAINS.items()],
        2,
        (3.2, 3.0),
        left=0.75,
        below=0.5,
        arms=strategies,
        foot=f"a point an arm of each kind of data and variants, mean over seeds; all less {study.reference}; ρ: "
        "Spearman's over the arms of a seed, mean over kinds of data and seeds with its 95 % interval over seeds",
    )
    looks = style.looks(strategies)
    for axes, (gain, name) in zip(panels, GAINS.items(), strict=True):
        for strategy, own in means.groupby("strategy"):
            look = looks[str(strategy)]
            axes.plot(own[gain], 100 * own[metric], look.marker, color=look.colour, markersize=5, alpha=0.75)
        style.mark(axes, 0.0)
        axes.axvline(0.0, color=style.FAINT, linestyle="--", linewidth=1, zorder=1)
        axes.set(xlabel=f"{name} − {study.reference}, nats per direction", ylabel=f"{word}, points")
        style.lay_grid(axes, "both")
    return figure

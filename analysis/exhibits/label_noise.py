"""How wrong labels are, and where: what each kind of evidence says, and the shares that it is seen in.

In the figure, labels that differ from the sign of a known margin, by its size: the gold margin where that is known,
else a model's, whose own mistakes are among them. Flips alone stay level, small margins alone fall to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels
from analysis.exhibits.table import Column
from analysis.inference.label_noise import label_noise, of_study
from analysis.inference.noise_evidence import Known, has_votes, votes_of
from analysis.inference.noise_model import Fit, Knows, Votes, wrong_at
from analysis.study.study import Study
from benchmarks.metrics import wilson
from mars.preferences.pair import TIE

BINS = 10  # of equally many pairs
_CURVES = 50  # points
_SEEN, _BOTH, _FLIPS, _SMALL = "seen", "both", "flips alone", "small margins alone"
_LOOKS: dict[str, dict[str, Any]] = {
    _SEEN: {"color": "#000000", "marker": "o", "linestyle": "none", "markersize": 4},
    _BOTH: {"color": "#0072B2", "linestyle": "-", "linewidth": 1.6},
    _FLIPS: {"color": "#D55E00", "linestyle": "--", "linewidth": 1.3},
    _SMALL: {"color": "#009E73", "linestyle": ":", "linewidth": 1.6},
}


class ByEvidence(Exhibit):
    """A row for each dataset × backbone and kind of evidence."""

    name, title = "label_noise", "How many labels are wrong, and where"
    caption = (
        "P(label is wrong) = ε + (1 − 2ε)·σ(−|m|/T) of pairs of the main test split, m the gold margin: ε turns labels "
        "round whatever the margin, T makes those of pairs with a small margin wrong most often. 95 % intervals by "
        "profile likelihood, which by votes and margins together hold less often where gold is far from normal "
        "(docs/statistics.md); an interval alone holds bounds. By votes, wrong is what differs from what most people "
        "would say, and people are taken to vote independently of each other. A model's margins are those of the arm, "
        "which saw base pairs alone where there is such an arm."
    )
    columns = (
        Column("evidence", "by"),
        Column("arm", "margins of"),
        Column("pairs", "pairs", ",d"),
        Column("votes", "votes a pair", "d"),
        Column("flips", "flips ε, %", ".1f", 100, interval=True),
        Column("temperature", "T", ".2f", interval=True),
        Column("by_margin", "wrong by small margins, %", ".1f", 100, interval=True),
        Column("wrong", "wrong in all, %", ".1f", 100, interval=True),
        Column("p_no_flips", "p, no flips", "p"),
        Column("p_flips_alone", "p, flips alone", "p"),
        Column("model_wrong", "ranked wrong by the model, %", ".1f", 100, interval=True),
        Column("kind", "what there is for sure"),
        Column("unknown", "what cannot be known"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        return label_noise(study)


class BySize(Exhibit):
    """A panel for each dataset × backbone: the shares that are seen, and the curves that would make them."""

    name, title = "label_noise", "Labels that differ from a margin, by its size"
    see = "Where the dots stay level far right, labels are turned round whatever the margin; or the model errs there."
    caption = (
        "Share of labels, or votes, that differ from the sign of the margin, in tenths of the pairs by |margin|, with "
        "95 % intervals; the curve of flips and small margins together, and those of either alone. By the gold margin, "
        "what is far right is flips. By a model's margin the model's own mistakes are there too, so it bounds flips; "
        "with one label a pair the curves take the model's margins for the gold ones."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        parts = [(f"{found.dataset} / {found.backbone}", _curves(found.known)) for found in of_study(study)]
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(style.columns(len(panels)), (3.8, 2.6), left=0.75)

    def legend(self, study: Study, frame: pd.DataFrame) -> Mapping[str, Artist]:
        return {name: Line2D([], [], **look) for name, look in _LOOKS.items()}

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return "bars: 95 % interval of a share"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        for name, look in _LOOKS.items():
            rows = frame[frame["series"] == name]
            x, share = rows["size"].to_numpy(float), 100 * rows["share"].to_numpy(float)
            axes.plot(x, share, **look)
            if name == _SEEN:
                ends = 100 * rows[["lo", "hi"]].to_numpy(float)
                axes.vlines(x, ends[:, 0], ends[:, 1], color=look["color"], linewidth=0.8)
        axes.set_xlim(0, None)
        axes.set_ylim(0, None)
        axes.set_xlabel(str(frame["margin"].iloc[0]))
        axes.set_ylabel("labels that differ, %")
        style.lay_grid(axes, "y")


def _curves(known: Known) -> pd.DataFrame:
    """series, margin (its name), size, share, lo, hi, pairs of one group."""
    labels, knows, name = _shown(known)
    whole, flips, small = Fit(labels, knows), Fit(labels, knows, t=0.0), Fit(labels, knows, flips=0.0)
    rows = list(_seen(labels))
    most = max(row["size"] for row in rows)
    x = np.linspace(most / _CURVES, most, _CURVES)
    unit = whole.unit
    for series, fit in ((_BOTH, whole), (_FLIPS, flips), (_SMALL, small)):
        share = wrong_at(x / unit, fit.flips.value, fit.t.value, fit.r.value)
        rows += [{"series": series, "size": size, "share": part} for size, part in zip(x, share, strict=True)]
    return pd.DataFrame(rows).assign(margin=name)


def _shown(known: Known) -> tuple[Votes, Knows, str]:
    """The labels of a panel, what their margins are, and the name of these."""
    gold = known.gold[np.isfinite(known.gold) & (known.gold != 0)]
    if len(gold):
        return _single(gold), "gold", "|gold margin|"
    if has_votes(known):
        votes = votes_of(known)
        scored = np.isfinite(votes.margins)
        return Votes(votes.margins[scored], votes.chosen[scored], votes.number), "model", "|Δ| of the model"
    scored = np.isfinite(known.margins) & (known.agreement != TIE)
    return _single(known.margins[scored]), "gold", "|Δ| of the model"


def _single(margins: np.ndarray) -> Votes:
    return Votes(margins, np.ones(len(margins), dtype=int))


def _seen(labels: Votes) -> Iterator[dict[str, Any]]:
    """Of tenths of the pairs by |margin|, the share of votes that differ from the margin's sign."""
    against = np.where(labels.margins < 0, labels.chosen, labels.number - labels.chosen) / labels.number
    against = np.where(labels.margins == 0, 0.5, against)
    size = np.abs(labels.margins)
    for rows in np.array_split(np.argsort(size, kind="stable"), BINS):
        if len(rows):
            wrong, n = float(against[rows].sum()), len(rows)
            lo, hi = wilson(wrong, n)
            yield {
                "series": _SEEN,
                "size": float(size[rows].mean()),
                "share": wrong / n,
                "lo": lo,
                "hi": hi,
                "pairs": n,
            }

"""Does a reward model's test score foretell what it is worth downstream? Rank correlations, as a table and as dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.exhibits import style
from analysis.exhibits.downstream import HOW
from analysis.exhibits.exhibit import Exhibit, Panel, panels_by
from analysis.exhibits.measures import whole
from analysis.exhibits.table import Column
from analysis.inference.foretelling import FEWEST_REPLICATES, OUTCOMES, PREDICTORS, foretelling
from analysis.inference.stats import FEWEST_POINTS
from analysis.study.study import NothingToShow, Study
from benchmarks.align.outcome import NAME

_WITHIN, _ALL = "within replicates", "over all runs"
_LOOKS: dict[str, tuple[str, float, dict[str, Any]]] = {  # above and below the middle of a row
    "within": (_WITHIN, -0.14, {"color": "#0072B2", "marker": "o", "markerfacecolor": "#0072B2"}),
    "all": (_ALL, 0.14, {"color": "0.45", "marker": "s", "markerfacecolor": "white"}),
}


class Foretelling(Exhibit):
    """A row for each predictor and outcome; the figure has a panel an outcome, a row a predictor."""

    name, title = "foretelling", "Do test scores foretell what a reward model is worth downstream?"
    see = "Which test scores went with the true reward later on; an interval off 0 says that one did."
    caption = (
        "Spearman's rank correlation, over arms and replicates, of what is measured of a reward model with the gold "
        "reward of what it picks or trains. Correlation over a study's few arms is weak evidence: whatever else sets "
        "two arms apart moves both numbers."
    )
    by = ("dataset", "backbone", "label")
    columns = (
        Column("outcome", "foretold"),
        Column("predictor", "by"),
        Column("within", f"ρ {_WITHIN}", "+.2f", interval=True),
        Column("p_adjusted", "adjusted p", "p"),
        Column("all", f"ρ {_ALL}", "+.2f", interval=True),
        Column("runs", "runs", "d"),
        Column("arms", "arms", "d"),
        Column("replicates", "replicates", "d"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        found = foretelling(study)
        if found.empty:
            raise NothingToShow(
                f"no {FEWEST_POINTS} runs of comparable arms have a gold reward downstream ({HOW}{NAME})"
            )
        named = {"outcome": found["outcome"].map(OUTCOMES), "predictor": found["predictor"].map(PREDICTORS)}
        return whole(found.assign(**named), "runs", "arms", "replicates")

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "Spearman's rank correlation over arms × replicates of a reward model's accuracy, gold accuracy, "
            "information and margin SNR on the main test split, and of its mean gain in H and in G over the rounds, "
            "with the gold gain of best of n, and the gold gain and win rate of the policy trained with it. Within "
            "replicates: each replicate's mean over arms is taken out of both, so that a lucky draw of pairs counts "
            "for nothing. 95 % intervals are for new replicates, by leaving out one after another, none below "
            f"{FEWEST_REPLICATES} replicates; p is of the correlation within replicates, by Holm's method over all "
            "rows. Correlation over a study's few arms is weak evidence: whatever else sets two arms apart moves both "
            "numbers."
        )

    def panels(self, study: Study, frame: pd.DataFrame) -> list[Panel | None]:
        return panels_by(frame, (*self.by, "outcome"))

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        names, row = style.names_room(list(PREDICTORS.values()))
        size = (2.5, 1.3 * row * max(len(panel.frame) for panel in panels))
        return style.Layout(style.columns(len(panels)), size, left=names)

    def legend(self, study: Study, frame: pd.DataFrame) -> Mapping[str, Artist]:
        return {name: Line2D([], [], linewidth=1.4, markersize=5, **look) for name, _, look in _LOOKS.values()}

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        few = frame["replicates"].min() < FEWEST_REPLICATES
        none = f", none below {FEWEST_REPLICATES} replicates" if few else ""
        return f"bars: 95 % interval for new replicates{none}; dashed: no correlation"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        for name, (_, aside, look) in _LOOKS.items():
            values = frame[[name, f"{name}_lo", f"{name}_hi"]].to_numpy(float)
            for y, (rho, lo, hi) in enumerate(values):
                axes.plot([lo, hi], [y + aside] * 2, color=look["color"], linewidth=1.4)
                axes.plot(rho, y + aside, markersize=5, **look)
        style.name_rows(axes, list(frame["predictor"]))
        axes.axvline(0.0, color=style.FAINT, linestyle="--", linewidth=1, zorder=1)
        axes.set_xlim(-1.05, 1.05)
        axes.set_xticks(np.linspace(-1, 1, 5))
        axes.set_xlabel("rank correlation ρ")
        style.lay_grid(axes, "x")

"""Where the seconds of a round go, arm by arm: what is not training is what an arm's choice, and its record, cost.

From the columns of rounds.csv that time a round in parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels
from analysis.exhibits.table import number, records
from analysis.study.study import NothingToShow, Study
from mars.method.clock import COLUMNS, PARTS

_BLUE, _ORANGE, _GREEN, _PINK, _SKY, _RED = (
    style.FIXED[arm].colour for arm in ("uniform", "eda", "won", "adaboost", "representation", "mars")
)
# Training first, so that all else is what its bar leaves; told apart in black and white by hatches.
LOOKS: dict[str, dict[str, Any]] = {
    "training": {"facecolor": "0.82"},
    "scoring": {"facecolor": _BLUE},
    "selection": {"facecolor": _RED, "hatch": "///"},
    "pool": {"facecolor": _ORANGE, "hatch": ".."},
    "tokenising": {"facecolor": _SKY, "hatch": "xxx"},
    "validation": {"facecolor": _GREEN, "hatch": "\\\\\\"},
    "curvature": {"facecolor": _PINK, "hatch": "++"},
    "recording": {"facecolor": "white", "hatch": "---"},
}
_FRAME = ["arm", "runs", "part", "seconds", "share"]
_BAR, _NUMBERS = 3.0, 1.35  # inches across: of a panel, of the numbers beside it
_LINE: dict[str, Any] = {"edgecolor": "0.25", "linewidth": 0.6}


class Costs(Exhibit):
    """A bar for each arm, of one length: the share of each part of a round. Beside it the round's seconds."""

    name, title = "costs", "Where a round's seconds go"
    see = "Grey is training; all else is what goes on around it."
    caption = (
        "Shares of the time of all rounds of an arm's runs; beside them a round's mean seconds, and how much is not "
        "training. Scoring: texts through the model because the arm asked. Selection: the arm's own work, trials "
        "included. Pool: variants made or found, and gates. Tokenising: texts to ids, or to features of a frozen "
        "encoder, which the first run of a study computes for all; in the first round the base pairs' too. Recording: "
        "the state saved after the round. Loading and the benchmarks are no part of it."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """A row for each arm and part: seconds a round, and their share of the round."""
        parts = [(title, rows) for title, group in study.groups() if len(rows := _of_group(group))]
        if not parts:
            raise NothingToShow(
                "no run recorded the seconds of each part of a round: run it again (python -m mars.run force=true)"
            )
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        arms = [list(dict.fromkeys(panel.frame["arm"])) for panel in panels]
        names, row = style.names_room([name for some in arms for name in some])
        across = style.columns(len(panels), 2 if names < 1.7 else 1)
        return style.Layout(across, (_BAR, row * max(map(len, arms)) + 0.3), left=names, right=_NUMBERS)

    def legend(self, study: Study, frame: pd.DataFrame) -> Mapping[str, Artist]:
        spent = frame.groupby("part")["seconds"].sum()
        return {part: Patch(**look, **_LINE) for part, look in LOOKS.items() if spent[part] > 0}

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        arms = list(dict.fromkeys(frame["arm"]))
        at: dict[str, Any] = {"va": "center", "ha": "right", "fontsize": style.SMALL}
        for y, arm in enumerate(arms):
            left, rows = 0.0, {str(row["part"]): row for row in records(frame[frame["arm"] == arm])}
            for part, look in LOOKS.items():
                axes.barh(y, rows[part]["share"], 0.66, left=left, **look, **_LINE)
                left += rows[part]["share"]
            seconds = sum(row["seconds"] for row in rows.values())
            rest = 100 * (1 - rows["training"]["share"])
            said = f"{number(seconds, '#.3g')} s, {rest:.0f} %"
            axes.text(1 + (_NUMBERS - 0.1) / _BAR, y, said, transform=axes.get_yaxis_transform(), **at)
        style.name_rows(axes, arms)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the round")

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return "beside each bar: seconds of a round, and the share of them that is not training"


def _of_group(group: Study) -> pd.DataFrame:
    """_FRAME of the arms of a group that have runs whose every part is known."""
    if not set(COLUMNS) <= set(group.rounds):
        return pd.DataFrame(columns=_FRAME)
    # A round that an interrupted run resumed after has no seconds of its recording.
    known = group.rounds[group.rounds["seconds_training"].notna()].fillna(dict.fromkeys(COLUMNS, 0.0))
    rows = []
    for arm in group.arms:
        own = known[known["arm"] == arm]
        total = own[list(COLUMNS)].to_numpy(float).sum()
        if total > 0:
            seconds = {part: own[column].sum() for part, column in zip(PARTS, COLUMNS, strict=True)}
            rows += [(arm, own["run"].nunique(), p, spent / len(own), spent / total) for p, spent in seconds.items()]
    return pd.DataFrame(rows, columns=_FRAME)

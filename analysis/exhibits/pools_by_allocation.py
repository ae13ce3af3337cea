"""Is a better pool worth more than a better allocation? Main effects of both, and their interaction, over replicates.

Drawn, an effect is a row and an endpoint a panel, so that effects of one panel are in one unit and can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel
from analysis.exhibits.table import Column, records
from analysis.inference.pairing import ENDPOINTS
from analysis.inference.pool_effects import AGAINST, ALLOCATION, INTERACTION, POOL, WITHIN, pool_effects
from analysis.study.study import Study

_LOOKS = {  # of effects, in colours that no two kinds share
    POOL: style.Look("#009E73", "s", "-"),
    ALLOCATION: style.Look("#D55E00", "D", "-"),
    AGAINST: style.Look("#000000", "o", "-"),
    WITHIN: style.Look("#E69F00", "d", "-"),
    INTERACTION: style.Look("#56B4E9", "^", "-"),
}
_NAMES, _ROW = 3.1, 0.34  # inches: beside a panel, and of a row


class PoolsByAllocation(Exhibit):
    """A row for each endpoint and effect; drawn, two panels per dataset × backbone."""

    name, title = "pools_by_allocation", "Pool against allocation"
    see = (
        "Squares say what another pool brings, the diamond what allocating by margins brings: the row farther from 0 "
        "is worth more."
    )
    caption = (
        "Effects on the main test split with 95 % intervals over replicates. Black: what a pool brings less what the "
        "allocation brings."
    )
    by = ("dataset", "backbone", "split")
    columns = (
        Column("effect", "effect"),
        Column("contrast", "contrast"),
        *(
            column
            for one in ENDPOINTS
            for column in (
                Column(one.metric, f"{one.metric}, {one.unit}", f"+{one.spec}", one.scale, interval=True),
                Column(f"{one.metric}_p", "p", "p"),
            )
        ),
        Column("replicates", "replicates", "d"),
        Column("not_compared", "not compared"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """A row an effect, both endpoints beside each other."""
        long, keys = pool_effects(study), ["dataset", "backbone", "split", "effect", "contrast"]
        parts = [long[long["endpoint"] == one.metric].reset_index(drop=True) for one in ENDPOINTS]
        frame = parts[0][[*keys, "replicates", "not_compared"]]
        for one, part in zip(ENDPOINTS, parts, strict=True):
            named = {f"difference{end}": f"{one.metric}{end}" for end in ("", "_lo", "_hi")} | {"p": f"{one.metric}_p"}
            frame = frame.join(part[list(named)].rename(columns=named))
        return frame

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "Each contrast is taken of the arms of one replicate, on the main test split: mean, 95 % interval and p "
            "for new replicates and new pairs. Pool: two pools, mean over the arms. Allocation: the arms, mean over "
            "the pools. Pool less allocation: above 0 the pool is worth more. Interaction: how much the difference of "
            "the arms changes from one pool to the other. One contrast at a time, not adjusted for their number."
        )

    def panels(self, study: Study, frame: pd.DataFrame) -> list[Panel | None]:
        """Of each group a panel an endpoint, whose numbers are `shown`, `shown_lo` and `shown_hi`, in its `unit`."""
        found: list[Panel | None] = []
        for (dataset, backbone), rows in frame.groupby(["dataset", "backbone"], sort=False):
            for one in ENDPOINTS:
                ends = {f"shown{end}": one.scale * rows[f"{one.metric}{end}"] for end in ("", "_lo", "_hi")}
                found.append(Panel(f"{dataset} / {backbone}, {one.metric}", rows.assign(**ends, unit=one.unit)))
        return found

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        size = (2.6, _ROW * max(len(panel.frame) for panel in panels))
        return style.Layout(2, size, left=_NAMES)

    def legend(self, study: Study, frame: pd.DataFrame) -> dict[str, Artist]:
        known = set(frame["effect"])
        return {name: style.handle(look) for name, look in _LOOKS.items() if name in known}

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return style.replicates_key("bars: 95 % interval over replicates", int(frame["replicates"].fillna(0).max()))

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        for y, row in enumerate(records(frame)):
            look = _LOOKS[row["effect"]]
            axes.plot([row["shown_lo"], row["shown_hi"]], [y, y], color=look.colour, linewidth=1.6)
            axes.plot(row["shown"], y, look.marker, color=look.colour, markersize=6)
        names = [style.wrap_text(str(name), _NAMES - 0.2, style.SMALL) for name in frame["contrast"]]
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.axvline(0, color="0.3", linewidth=1, zorder=1)
        axes.set_xlabel(f"difference, {frame['unit'].iloc[0]}")
        shown = frame[["shown", "shown_lo", "shown_hi"]].to_numpy(float)
        axes.set_xlim(*style.fitted(np.append(shown, 0.0)))
        style.few_ticks(axes)
        style.lay_grid(axes, "x")

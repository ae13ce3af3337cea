"""The map of regimes: where an arm wins, ties and loses against the reference, over kinds of data and of variants.

In the figure, rows are kinds of data, columns arms, panels kinds of variants. Every cell says its number: colour shows
the pattern and is no scale to read from. It goes by the root of the difference, so that one loss of eleven points
leaves wins of two visible. Framed and bold is what is significant over the whole map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm
from matplotlib.patches import Rectangle

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel
from analysis.exhibits.table import Column, number, records
from analysis.inference.regimes import GOLD, regimes
from analysis.inference.stats import ALPHA
from analysis.study.arm_names import method_of, settings_of
from analysis.study.naming import place, place_of_data
from analysis.study.study import Study

_COLOURS = "RdBu"  # red worse, blue better: told apart by readers with any colour vision


_CELL = (0.64, 0.29)  # inches


_SIDE_BY_SIDE = 5  # arms at most, for panels to stand beside each other


_PALE = 0.55  # of the scale, beyond which a number is white


_BAR = 0.95  # inches for the colour bar and its numbers


class Regimes(Exhibit):
    """A row for each kind of data, of variants and arm; drawn, a panel per kind of variants."""

    name, title = "regimes", "Where arms win, tie and lose"
    see = "Each cell is a kind of data; only framed, bold cells differ by more than chance."
    caption = (
        "Difference to the reference arm on the same replicates and pairs of a cell, in points of accuracy. Only cells "
        "framed and bold differ by more than chance, judged over the whole map; the table has their intervals."
    )
    by = ("backbone",)

    def frame(self, study: Study) -> pd.DataFrame:
        return regimes(study)

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        tested = int(frame["p"].notna().sum())
        gold = frame["measure"].eq(GOLD)
        right = "agreement with the true reward" if gold.all() else "label accuracy"
        if gold.any() and not gold.all():
            right = "agreement with the true reward where it is known, else label accuracy"
        counts = frame["outcome"].value_counts()
        low, better = frame["p"] < ALPHA, frame["difference"] > 0
        return (
            f"Arm − {study.reference} of the same data and variants, at equal steps, on the same replicates and pairs: "
            f"{right} on the main test split, in points, with a 95 % interval and p for new ones. "
            f"Adjusted p: Holm's, over the {tested} differences of the map; win and loss go by it, and a tie is not "
            f"“no difference”. {counts.get('win', 0)} wins, {counts.get('tie', 0)} ties, {counts.get('loss', 0)} "
            f"losses; at an unadjusted p below .05 {int((low & better).sum())} differences are above 0 and "
            f"{int((low & ~better).sum())} below, which is what to look at for whether an arm is ever worse."
        )

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        return (
            Column("dataset", "data"),
            Column("variants", "variants"),
            Column("strategy", "arm"),
            Column("outcome", "outcome"),
            Column("difference", f"− {study.reference}, points", "+.1f", 100, interval=True),
            Column("p", "p", "p"),
            Column("p_holm", "adjusted p", "p"),
            Column("value", "accuracy %", ".1f", 100),
            Column("reference_value", f"{study.reference} %", ".1f", 100),
            Column("replicates", "replicates", "d"),
            Column("examples", "pairs", ",d"),
            Column("not_compared", "not compared"),
        )

    def panels(self, study: Study, frame: pd.DataFrame) -> list[Panel | None]:
        """Of each kind of variants its rows, with `x` and `y`, the cell of the map."""
        _, _, x, y = _axes_of_the_map(frame)
        placed = frame.assign(x=x, y=y)
        named = {variants: f"variants {variants}".strip() for variants in frame["variants"]}
        titles = {v: f"variants: {_listed(settings_of(named[v]))}" if v else "" for v in named}
        return [
            Panel(titles[kind], placed[placed["variants"] == kind])
            for kind in sorted(named, key=lambda variants: place(named[variants]))
        ]

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        rows, columns, _, _ = _axes_of_the_map(pd.concat([panel.frame for panel in panels]))
        across = style.columns(len(panels), 2) if len(columns) <= _SIDE_BY_SIDE else 1
        names = max(style.width(name, style.SMALL) for name in rows) + 0.2
        below = style.LINE * max(map(style.lines, _heads(columns))) + 0.25
        size = (_CELL[0] * len(columns), _CELL[1] * len(rows))
        return style.Layout(across, size, left=names, below=below, right=_BAR)

    def legend(self, study: Study, frame: pd.DataFrame) -> list[str]:
        return []

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        gold = frame["measure"].eq(GOLD)
        right = "against the true reward"
        if not gold.all():
            right = "by labels" + (" where no truth is known" if gold.any() else "")
        warmth = "; Bradley–Terry at: its temperature" if frame["dataset"].str.contains("temperature=").any() else ""
        crossed = "; ×: not compared" if frame["difference"].isna().any() else ""
        rows, columns, _, _ = _axes_of_the_map(frame)
        blank = "; blank: not run" if len(frame) < len(rows) * len(columns) * frame["variants"].nunique() else ""
        return (
            f"accuracy {right}, arm − {study.reference}, points; bold and framed: significant over the map (Holm, "
            f"5 %){crossed}{blank}; {frame['replicates'].min()} replicates or more{warmth}"
        )

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        """The cells that are coloured by `finish`, which knows the scale of all panels."""
        axes.set_facecolor("0.96")
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        whole = pd.concat([panel.frame for _, panel in drawn])
        rows, columns, _, _ = _axes_of_the_map(whole)
        reach = 100 * float(np.nanmax(np.abs(whole["difference"].to_numpy(float)), initial=0.01))
        norm = FuncNorm((_signed_root, _signed_square), vmin=-reach, vmax=reach)
        for axes, panel in drawn:
            for cell in records(panel.frame):
                _draw_cell(axes, cell, norm)
            axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
            axes.set_xticks(range(len(columns)), _heads(columns))
            axes.set_yticks(range(len(rows)), rows)
        across = self.layout(study, [panel for _, panel in drawn]).across
        _bar(drawn[min(across, len(drawn)) - 1][0], norm, reach)


def _axes_of_the_map(frame: pd.DataFrame) -> tuple[list[str], list[str], list[int], list[int]]:
    """The names of the map's rows and columns, and of each row of the frame the column (x) and the row (y) it is in."""
    named = frame.assign(row=_row_names(frame))
    ordered = named.drop_duplicates("row").sort_values("dataset", key=lambda c: c.map(_data_order), kind="stable")
    rows = list(ordered["row"])
    columns = list(dict.fromkeys(_column_name(arm) for arm in sorted(dict.fromkeys(frame["strategy"]), key=place)))
    x = [columns.index(_column_name(strategy)) for strategy in frame["strategy"]]
    return rows, columns, x, [rows.index(row) for row in named["row"]]


def _heads(columns: list[str]) -> list[str]:
    return [style.wrap_text(name, _CELL[0] - 0.06, style.SMALL) for name in columns]


def _draw_cell(axes: Axes, cell: dict[str, Any], norm: FuncNorm) -> None:
    x, y, points = cell["x"], cell["y"], 100 * cell["difference"]
    if not np.isfinite(points):
        axes.text(x, y, "×", ha="center", va="center", **style.ASIDE)
        return
    colour = ScalarMappable(norm, _COLOURS).to_rgba(np.array(points))
    found = cell["outcome"] in ("win", "loss")
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, linewidth=0))
    if found:
        axes.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fill=False, edgecolor="0.1", linewidth=1.1))
    dark = abs(_signed_root(points)) > _PALE * _signed_root(norm.vmax)
    axes.text(
        x,
        y,
        number(points, "+.1f"),
        ha="center",
        va="center",
        fontsize=style.SMALL - 0.5,
        color="white" if dark else "0.1",
        fontweight="bold" if found else "normal",
    )


def _bar(beside: Axes, norm: FuncNorm, reach: float) -> None:
    """The colours' scale, right of a panel."""
    figure = beside.get_figure(root=True)
    assert figure is not None
    wide, high = figure.get_size_inches()
    at = beside.get_position()
    axes = figure.add_axes((at.x1 + 0.18 / wide, at.y0, 0.12 / wide, at.height))
    half = at.height * high / 2
    steps: list[float] = []
    room = half * 1.01
    for step in (50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1):  # as many as have room, from the outermost
        spot = half * float(_signed_root(step / reach))
        if step <= reach and style.LINE < spot < room:
            steps, room = [step, *steps], spot - style.LINE
    ticks = [*(-step for step in reversed(steps)), 0.0, *steps]
    bar = figure.colorbar(ScalarMappable(norm, _COLOURS), cax=axes)
    bar.set_ticks(ticks, labels=[number(tick, "+g") for tick in ticks])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    axes.tick_params(length=2)


def _signed_root(x: Any) -> Any:
    return np.sign(x) * np.sqrt(np.abs(x))


def _signed_square(x: Any) -> Any:
    return np.sign(x) * np.square(x)


def _row_names(table: pd.DataFrame) -> list[str]:
    """A row's kind of data; the dataset's and the backbone's names only where they differ."""
    ids = table["dataset"].map(method_of)
    several, backbones = ids.nunique() > 1, table["backbone"].nunique() > 1
    return [
        ", ".join(filter(None, [name if several else "", backbone if backbones else "", _said(dataset)])) or name
        for name, dataset, backbone in zip(ids, table["dataset"], table["backbone"], strict=True)
    ]


def _said(dataset: str) -> str:
    """A dataset's settings in words, label noise first: `flips 25 %, rare 10 %`."""
    values = settings_of(dataset)
    noise, flips, temperature = (values.pop(key, "") for key in ("noise", "flip_rate", "temperature"))
    labels = {"bradley_terry": "Bradley–Terry", "none": "clean", "flip": "flips"}.get(noise, noise)
    labels = labels or ("flips" if flips else "temperature" if temperature else "")
    degree = _percent(flips) if flips else f"at {_number(temperature)}" if temperature else ""
    rare = f"rare {_percent(values.pop('rare_share'))}" if "rare_share" in values else ""
    return ", ".join(filter(None, [f"{labels} {degree}".strip(), rare, _listed(values)]))


def _listed(values: dict[str, str]) -> str:
    return ", ".join(f"{key} {_number(value)}".strip() for key, value in values.items())


def _number(value: str) -> str:
    """A number without what it does not need; anything else as it is."""
    try:
        return number(float(value), "g")
    except ValueError:
        return value


def _percent(share: str) -> str:
    try:
        return f"{number(100 * float(share), 'g')} %"
    except ValueError:
        return share


def _column_name(strategy: str) -> str:
    """An arm as a column says it: `mars absolute τ=2`."""
    values = settings_of(strategy)
    named = {"score": "", "tau": "τ="}
    said = [f"{named.get(key, f'{key}=')}{_number(value)}" for key, value in values.items()]
    return " ".join([method_of(strategy), *said])


def _data_order(dataset: str) -> tuple[Any, ...]:
    """Bradley–Terry labels, the noisiest first, then clean ones, then flips, the fewest first; rare pairs within."""
    values = settings_of(dataset)

    def at(key: str) -> float:
        try:
            return float(values.get(key, 0))
        except ValueError:
            return 0.0

    kinds = ("bradley_terry", "none", "flip")
    kind = kinds.index(values["noise"]) if values.get("noise") in kinds else len(kinds)
    return at("rare_share"), method_of(dataset), kind, -at("temperature"), at("flip_rate"), place_of_data(dataset)

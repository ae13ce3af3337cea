"""The phase diagram: where an arm wins, ties and loses against the reference, over kinds of data and of variants.

Rows are kinds of data, columns arms, panels kinds of variants. Every cell says its number: colour shows the pattern and
is no scale to read from. It goes by the root of the difference, so that one loss of eleven points leaves wins of two
visible. Framed and bold is what is significant over the whole map.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.exhibits import style
from analysis.exhibits.table import number, records
from analysis.inference.regimes import GOLD, regimes
from analysis.study.naming import place
from analysis.study.study import Study

_COLOURS = "RdBu"  # red worse, blue better: told apart by readers with any colour vision
_CELL = (0.64, 0.29)  # inches
_SIDE_BY_SIDE = 5  # arms at most, for panels to stand beside each other
_PALE = 0.55  # of the scale, beyond which a number is white
_BAR = 0.95  # inches for the colour bar and its numbers


def diagram(study: Study) -> Figure:
    """A panel per kind of variants. Raises NothingToShow for a study of one kind of data and variants."""
    table = regimes(study)
    table = table.assign(row=_row_names(table), column=[_column_name(strategy) for strategy in table["strategy"]])
    order = table.drop_duplicates("row").sort_values("dataset", key=lambda c: c.map(_data_order), kind="stable")
    rows = list(order["row"])
    strategies = sorted(dict.fromkeys(table["strategy"]), key=place)
    columns = list(dict.fromkeys(map(_column_name, strategies)))
    panels = sorted(dict.fromkeys(table["variants"]), key=lambda variants: place(f"variants {variants}"))
    across = style.columns(len(panels), 2) if len(columns) <= _SIDE_BY_SIDE else 1
    heads = [style.fitted(name, _CELL[0] - 0.06, style.SMALL) for name in columns]
    names = max(style.width(name, style.SMALL) for name in rows) + 0.2
    below = style.LINE * max(map(style.lines, heads)) + 0.25
    reach = 100 * float(np.nanmax(np.abs(table["difference"].to_numpy(float)), initial=0.01))
    gold = table["measure"].eq(GOLD)
    right = (
        "against the true reward" if gold.all() else "by labels" + (" where no truth is known" if gold.any() else "")
    )
    warmth = "; Bradley–Terry at: its temperature" if table["dataset"].str.contains("temperature=").any() else ""
    figure, grid = style.sheet(
        [f"variants: {_listed(_values(variants))}" if variants else "" for variants in panels],
        across,
        (_CELL[0] * len(columns), _CELL[1] * len(rows)),
        left=names,
        below=below,
        right=_BAR,
        foot=f"accuracy {right}, arm − {study.reference}, points; bold and framed: significant over the map (Holm, "
        f"5 %); ×: not compared; blank: not run; {table['seeds'].min()} seeds or more" + warmth,
    )
    norm = FuncNorm((_signed_root, _signed_square), vmin=-reach, vmax=reach)
    for axes, variants in zip(grid, panels, strict=True):
        _panel(axes, table[table["variants"] == variants], rows, columns, norm)
        axes.set_xticks(range(len(columns)), heads)
        axes.set_yticks(range(len(rows)), rows)
    _bar(figure, grid[min(across, len(grid)) - 1], norm, reach)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, rows: list[str], columns: list[str], norm: FuncNorm) -> None:
    mapped = ScalarMappable(norm, _COLOURS)
    for cell in records(table):
        x, y, points = columns.index(cell["column"]), rows.index(cell["row"]), 100 * cell["difference"]
        if not np.isfinite(points):
            axes.text(x, y, "×", ha="center", va="center", **style.ASIDE)
            continue
        found = cell["outcome"] in ("win", "loss")
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=mapped.to_rgba(np.array(points)), linewidth=0))
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
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_facecolor("0.96")
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)


def _bar(figure: Figure, beside: Axes, norm: FuncNorm, reach: float) -> None:
    """The colours' scale, right of a panel."""
    wide = figure.get_size_inches()[0]
    at = beside.get_position()
    axes = figure.add_axes((at.x1 + 0.18 / wide, at.y0, 0.12 / wide, at.height))
    half = at.height * figure.get_size_inches()[1] / 2
    steps: list[float] = []
    room = half * 1.01
    for step in (50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1):  # as many as have room, from the outermost
        place = half * float(_signed_root(step / reach))
        if step <= reach and style.LINE < place < room:
            steps, room = [step, *steps], place - style.LINE
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
    ids = table["dataset"].str.partition(" ")[0]
    several, backbones = ids.nunique() > 1, table["backbone"].nunique() > 1
    return [
        ", ".join(
            filter(None, [name if several else "", backbone if backbones else "", _said(dataset.partition(" ")[2])])
        )
        or name
        for name, dataset, backbone in zip(ids, table["dataset"], table["backbone"], strict=True)
    ]


def _said(settings: str) -> str:
    """Settings in words, label noise first: `flips 25 %, rare 10 %`."""
    values = _values(settings)
    noise, flips, temperature = (values.pop(key, "") for key in ("noise", "flip_rate", "temperature"))
    labels = {"bradley_terry": "Bradley–Terry", "none": "clean", "flip": "flips"}.get(noise, noise)
    labels = labels or ("flips" if flips else "temperature" if temperature else "")
    degree = _percent(flips) if flips else f"at {_number(temperature)}" if temperature else ""
    rare = f"rare {_percent(values.pop('rare_share'))}" if "rare_share" in values else ""
    return ", ".join(filter(None, [f"{labels} {degree}".strip(), rare, _listed(values)]))


def _listed(values: dict[str, str]) -> str:
    return ", ".join(f"{key} {_number(value)}".strip() for key, value in values.items())


def _values(settings: str) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in settings.split())


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
    method, _, settings = strategy.partition(" ")
    values = _values(settings)
    named = {"score": "", "tau": "τ="}
    said = [f"{named.get(key, f'{key}=')}{_number(value)}" for key, value in values.items()]
    return " ".join([method, *said])


def _data_order(dataset: str) -> tuple[Any, ...]:
    """Bradley–Terry labels, the noisiest first, then clean ones, then flips, the fewest first; rare pairs within."""
    name, _, settings = dataset.partition(" ")
    values = _values(settings)

    def at(key: str) -> float:
        try:
            return float(values.get(key, 0))
        except ValueError:
            return 0.0

    kinds = ("bradley_terry", "none", "flip")
    kind = kinds.index(values["noise"]) if values.get("noise") in kinds else len(kinds)
    return at("rare_share"), name, kind, -at("temperature"), at("flip_rate"), dataset

"""What makes a difference uncertain, draws, seeds or test pairs, and how far more of them would shrink its error.

Where most of the variance is the test pairs', further runs are wasted and a larger test set is not; where it is the
draws' or the seeds', it is the other way round. What a study cannot tell apart is one part, and named so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, panels_by
from analysis.exhibits.table import Column, compared, number, records
from analysis.inference.comparisons import declared_pairs
from analysis.inference.components import Components, components, se_with
from analysis.inference.design import design
from analysis.inference.difference import Spread
from analysis.inference.power import of_differences
from analysis.study.study import NothingToShow, Study

_BLUE, _ORANGE = style.FIXED["uniform"].colour, style.FIXED["eda"].colour
_LIGHT = style.lighter(_BLUE)
_SPEC = "#.3g"  # of a standard error
_BAR, _NUMBER = 2.6, 0.7  # inches across: of a panel, of a number beside it
_HEAD = 0.54  # inches above the bars
_KEYS = ["dataset", "backbone", "split", "endpoint", "arm", "reference"]


class Part(NamedTuple):
    """A part of the variance as it is named, explained and drawn: `fill`, with hatches in `line`."""

    name: str
    about: str
    fill: Any
    line: str
    hatch: str = ""

    @property
    def patch(self) -> dict[str, Any]:
        """How matplotlib is told."""
        return {"facecolor": self.fill, "edgecolor": self.line, "hatch": self.hatch, "linewidth": 0.8}


_DRAW, _SEED = "what another draw of the base pairs changes", "what another training seed changes"
_BOTH = "what another draw of the base pairs and another seed change"
_ONE = "each replicate has one seed"
_OWN = "what a replicate's own test pairs change (replicates or test pairs lessen it)"
_REST = "what a replicate changes on one pair and not on others (replicates or test pairs lessen it)"
_PAIRS = "what other test pairs change in every replicate alike (only test pairs lessen it)"
_OVERLAP = "what draws share by having base pairs in common (only more base pairs to draw from lessen it)"

# From left to right in a bar: first what more replicates lessen, then what they leave. In the colour of what it takes:
# replicates blue, test pairs orange, either of them grey.
PARTS = {
    "draws": Part("draws", _DRAW, _BLUE, "white"),
    "draws_seeds": Part("draws and seeds", f"{_BOTH} ({_ONE})", _BLUE, "white", "\\\\\\"),
    "seeds": Part("seeds", _SEED, _LIGHT, _BLUE, "\\\\\\"),
    "rest": Part("pair × replicate", _REST, "0.85", "white"),
    "own_pairs": Part("own test pairs", _OWN, "0.85", "white", ".."),
    "pairs": Part("test pairs", _PAIRS, _ORANGE, "white", ".."),
    "overlap": Part("overlap of draws", _OVERLAP, "white", "0.25", "////"),
}
NUMBERS = {  # column: head beside the bars
    "se": "now",
    "se_replicates": "twice the\nreplicates",
    "se_examples": "twice the\ntest pairs",
    "se_floor": "floor",
}


class Variance(Exhibit):
    """A row for each comparison and endpoint with an interval; drawn, a panel per dataset × backbone × endpoint."""

    name, title = "variance", "What makes a difference uncertain"
    see = "Blue or grey asks for more replicates, orange for more test pairs."
    caption = (
        "Parts of the variance of a mean difference. Replicates lessen what is blue or grey, test pairs what is orange "
        "or grey. Beside it the standard error, as it is and as predicted."
    )
    by = ("dataset", "backbone", "split", "endpoint")

    def frame(self, study: Study) -> pd.DataFrame:
        rows = [row for _, group in study.groups() for row in _of_group(group)]
        if not rows:
            raise NothingToShow(
                f"no comparison of {study.focus} has an interval to take apart: run it and another arm with several "
                "seeds each (python -m mars.run -m method=uniform,mars seed=0,1,2)"
            )
        numbers = [*map(_share, PARTS), *NUMBERS, "unit", "replicates", "examples"]
        return pd.DataFrame(rows, columns=[*_KEYS, *numbers])

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        return (
            Column("arm", "arm"),
            Column("reference", "against"),
            *(Column(_share(key), f"{part.name}, %", ".0f", 100) for key, part in PARTS.items()),
            Column("se", "standard error", _SPEC),
            Column("se_replicates", "with twice the replicates", _SPEC),
            Column("se_examples", "with twice the test pairs", _SPEC),
            Column("se_floor", "floor", _SPEC),
            Column("unit", "unit"),
            Column("replicates", "replicates", "d"),
            Column("examples", "pairs", ",d"),
        )

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "Parts of the variance of each mean difference that has an interval, in % of it, as estimated from mean "
            f"squares; few replicates estimate them roughly. {_explained(frame)} {_predicted(frame)} Unit: points of "
            "accuracy or bits of information a pair."
        )

    def panels(self, study: Study, frame: pd.DataFrame) -> list[Panel | None]:
        return panels_by(frame, self.by)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        names, row = style.names_room([name for panel in panels for name in compared(panel.frame)])
        size = (_BAR, row * max(len(panel.frame) for panel in panels) + _HEAD)
        right = _NUMBER * max(len(_known(panel.frame)) for panel in panels) + 0.35
        return style.Layout(1, size, left=names, right=right)

    def legend(self, study: Study, frame: pd.DataFrame) -> Mapping[str, Artist]:
        return {PARTS[key].name: Patch(**PARTS[key].patch) for key in _present(frame)}

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return f"{_explained(frame)} {_predicted(frame)}"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        for y, row in enumerate(records(frame)):
            _draw_row(axes, y, row)
        style.name_rows(axes, compared(frame))
        high = axes.get_position().height * axes.figure.get_figure(root=True).get_figheight()
        scale = (len(frame) + 0.2) / (high - _HEAD)  # rows to an inch
        axes.set_ylim(len(frame) - 0.4, -0.6 - _HEAD * scale)
        _write_numbers(axes, frame, high)
        axes.spines["left"].set_bounds(len(frame) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the variance of the mean difference")


def _of_group(group: Study) -> Iterator[dict[str, Any]]:
    drawn = design(group).draws > 1
    for row, endpoint, found in declared_pairs(group):
        spread = found.result.spread if found is not None else None
        if found is None or spread is None:
            continue
        apart = of_differences(found.differences, found.own_rows, spread.draws) or spread
        sizes = {"unit": endpoint.unit, "replicates": found.replicates, "examples": found.examples}
        shares = _shares(apart, drawn, found.own_rows)
        yield {key: row[key] for key in _KEYS} | shares | _errors(spread.se * endpoint.scale, apart) | sizes


def _shares(spread: Spread, drawn: bool, own_rows: bool) -> dict[str, float]:
    """The shares that there are. drawn, own_rows: whether replicates differ in base pairs, and in test pairs."""
    parts = components(spread)
    shares = {_replicate_part(parts, drawn): parts.draws}
    shares |= {"seeds": parts.seeds} if parts.seeds_apart else {}
    shares |= {"overlap": parts.overlap} if spread.draws.overlap else {}
    shares |= {"own_pairs": parts.rest} if own_rows else {"pairs": parts.pairs, "rest": parts.rest}
    return {_share(key): part / parts.variance for key, part in shares.items()}


def _replicate_part(parts: Components, drawn: bool) -> str:
    """The key in PARTS of what replicates differ by: all that varies with them and is not a part of its own."""
    held = {"draws": drawn or parts.seeds_apart, "seeds": not parts.seeds_apart}
    return "_".join(name for name, is_there in held.items() if is_there)


def _errors(now: float, spread: Spread) -> dict[str, float]:
    """NUMBERS, in the unit of the standard error `now`, from what `spread` says of larger studies."""
    more = {
        "se": spread.se,
        "se_replicates": se_with(spread, replicates=2 * spread.replicates),
        "se_examples": se_with(spread, examples=2 * spread.examples),
        "se_floor": spread.fixed**0.5,
    }
    return {key: now * value / spread.se for key, value in more.items()}


def _share(key: str) -> str:
    """The column of a part."""
    return f"share_{key}"


def _present(frame: pd.DataFrame) -> list[str]:
    """The parts that any of these comparisons has."""
    return [key for key in PARTS if frame[_share(key)].notna().any()]


def _known(frame: pd.DataFrame) -> list[str]:
    """The numbers that are known of any of these comparisons."""
    return [key for key in NUMBERS if frame[key].notna().any()]


def _explained(frame: pd.DataFrame) -> str:
    """A sentence for each part that there is."""
    return " ".join(f"{PARTS[key].name.capitalize()}: {PARTS[key].about}." for key in _present(frame))


def _predicted(frame: pd.DataFrame) -> str:
    """How to read the standard errors."""
    more = "twice the replicates or twice the test pairs" if "se_examples" in _known(frame) else "twice the replicates"
    return f"Standard error: as it is, and as predicted with {more}; no number of replicates goes below the floor."


def _draw_row(axes: Axes, y: int, row: dict[str, Any]) -> None:
    """A comparison's parts, end to end."""
    left = 0.0
    for key, part in PARTS.items():
        share = row[_share(key)]
        if np.isfinite(share) and share > 0:
            axes.barh(y, share, 0.66, left=left, **part.patch)
            left += share


def _write_numbers(axes: Axes, frame: pd.DataFrame, high: float) -> None:
    """The standard errors right of the bars, under their heads. high: inches of the panel."""
    known, unit = _known(frame), frame["unit"].iloc[0]
    right = [1 + _NUMBER * (i + 1) / _BAR for i in range(len(known))]
    look: dict[str, Any] = {"ha": "right", "fontsize": style.SMALL}
    heads = 1 - (_HEAD - 0.02) / high
    axes.text(right[-1], heads + 0.34 / high, f"standard error, {unit}", transform=axes.transAxes, va="bottom", **look)
    for x, key in zip(right, known, strict=True):
        axes.text(x, heads, NUMBERS[key], transform=axes.transAxes, va="bottom", linespacing=1.15, **look)
        for y, value in enumerate(frame[key]):
            axes.text(x, y, number(value, _SPEC), transform=axes.get_yaxis_transform(), va="center", **look)

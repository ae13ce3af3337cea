"""How every figure looks: an arm's colour, marker and line, the sizes of panels, what is said beside them.

An arm has the same look in every figure (Okabe–Ito: told apart by readers with any colour vision, and by marker and
line in black and white). Sheets are laid out in inches from the measured sizes of the texts rather than by an automatic
layout: panels are all of one size, nothing can be cut or lie over its neighbour, and a figure of forty panels takes as
long as drawing it does.
"""

from __future__ import annotations

import functools
import itertools
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from analysis.exhibits.sheet import SMALL, TEXT, Sheet
from analysis.inference.stats import Interval, mean_interval

FEW = 6  # arms whose curves can be told apart where they lie over each other
WIDE = 24  # characters of an arm's name on one line
_JOINTS = "_-.="
LINE = 1.25 * TEXT / 72  # inches from one line of text to the next
FAINT = "0.5"
ASIDE: dict[str, Any] = {"fontsize": SMALL, "color": FAINT}


class Look(NamedTuple):
    colour: str
    marker: str
    line: Literal["-", "--", "-.", ":"]


# The palette's yellow cannot be read on white.
_BLACK, _BLUE, _ORANGE, _GREEN, _PINK, _SKY, _RED = (
    "#000000", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
)  # fmt: skip
FIXED = {  # seven colours for fourteen arms: those that share one are of a kind, and differ in marker and line
    "none": Look(_BLACK, "s", ":"),
    "none_matched": Look(_BLACK, "*", "-"),
    "uniform": Look(_BLUE, "o", "-"),
    "stratified": Look(_BLUE, "P", ":"),
    "eda": Look(_ORANGE, "^", "--"),
    "won": Look(_GREEN, "v", "-"),
    "west_of_n": Look(_GREEN, "<", ":"),
    "adaboost": Look(_PINK, "X", "-"),
    "self_training": Look(_PINK, ">", ":"),
    "representation": Look(_SKY, "p", "--"),
    "mars_fisher": Look(_RED, "^", ":"),
    "mars_tempered": Look(_RED, "d", "--"),
    "mars_validated": Look(_RED, "s", "-."),
    "mars": Look(_RED, "D", "-"),
}
_COLOURS = (_SKY, _ORANGE, _GREEN, _PINK, _RED, _BLUE, _BLACK)
_LINES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
_MARKERS = ("d", "h", "^", "s", "v", "o", "D", "P")


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Arm to look: this project's by name; others (a method's several settings, …) by order, in what is free."""
    fixed = {(look.colour, look.line) for arm, look in FIXED.items() if arm in arms}
    used = {colour for colour, _ in fixed}
    free = [(c, line) for c, line in itertools.product(_COLOURS, _LINES) if (c, line) not in fixed]
    free.sort(key=lambda look: (look[0] in used, _LINES.index(look[1])))  # new colours before shared ones
    by_order = {}
    for i, arm in enumerate(arm for arm in arms if arm not in FIXED):
        turn, place = divmod(i, len(free))
        colour, line = free[place]
        by_order[arm] = Look(colour, _MARKERS[(place + turn) % len(_MARKERS)], line)
    return {arm: FIXED[arm] if arm in FIXED else by_order[arm] for arm in arms}


def lighter(colour: str) -> tuple[float, float, float]:
    """An opaque tint, for an area that has to hide what is behind it."""
    red, green, blue = to_rgb(colour)
    return 1 - 0.35 * (1 - red), 1 - 0.35 * (1 - green), 1 - 0.35 * (1 - blue)


def wrap_name(arm: str) -> str:
    """An arm's name over as many lines as keep it from crowding out what it names; a setting stays in one piece."""
    return textwrap.fill(arm, WIDE, break_long_words=False, break_on_hyphens=False)


@functools.cache
def width(text: str, points: float = TEXT) -> float:
    """Inches that the longest line of `text` takes."""
    font = FontProperties(size=points)
    lines = (text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n"))
    return float(max(lines)) / 72


def lines(text: str) -> int:
    """How many lines `text` takes."""
    return text.count("\n") + 1


def wrap_text(text: str, inches: float, points: float = TEXT) -> str:
    """`text` over as many lines as it takes in `inches`; one that is too long is broken, best after one of _JOINTS."""
    done: list[str] = []
    line = ""
    for word in text.split():
        while line and width(f"{line} {word}", points) > inches:
            done, line = [*done, line], ""
        line = f"{line} {word}" if line else word
        while width(line, points) > inches and len(line) > 1:
            most = next(n for n in range(len(line) - 1, 0, -1) if width(line[:n], points) <= inches or n == 1)
            joint = max(line.rfind(mark, 0, most) for mark in _JOINTS) + 1
            cut = joint if joint > most // 2 else most
            done, line = [*done, line[:cut]], line[cut:]
    return "\n".join([*done, line])


def columns(panels: int, most: int = 3) -> int:
    """Panels to a row, so that rows are filled evenly."""
    return -(-panels // -(-panels // most))


class Layout(NamedTuple):
    """Where the panels of a figure are, in inches.

    across: panels to a row. size: [width, height] of a panel. left, right, below: room beside and beneath each for its
    numbers and label. names: more room before the first panel of a row.
    """

    across: int
    size: tuple[float, float]
    left: float
    below: float = 0.5
    names: float = 0.0
    right: float = 0.0


def sheet(
    titles: Sequence[str | None], layout: Layout, arms: Sequence[str] | Mapping[str, Artist] = (), foot: str = ""
) -> tuple[Sheet, list[Axes]]:
    """A figure with a panel for each title (none where it is None), and those panels in their order.

    arms: of the one legend, right of all panels, or what else it names; none without any. foot: said below it all.
    """
    across, size, left, below, names, right = layout
    down = -(-len(titles) // across)
    heads = [None if title is None else wrap_text(title, size[0] + min(0.6 * left, 0.3)) for title in titles]
    above = LINE * max(lines(head) for head in heads if head is not None) + 0.12
    legend = _legend_size(arms)
    step = left + size[0] + right
    wide = max(names + across * step + 0.2 + legend[0], 4.5)
    foot = wrap_text(foot, 0.96 * (wide - 0.3), SMALL) if foot else ""  # letters are drawn in whole pixels, so wider
    under = LINE * lines(foot) + 0.1 if foot else 0.05
    cell = above + size[1] + below
    tall = min(2.0 * size[1], max(size[1], size[1] + legend[1] / down - cell))  # beside a long legend
    cell += tall - size[1]
    high = max(down * cell, legend[1]) + under
    figure = Sheet(figsize=(round(wide, 2), round(high, 2)))
    panels = []
    for i, head in enumerate(heads):
        if head is None:
            continue
        row, column = divmod(i, across)
        x, y = names + left + column * step, high - (row + 1) * cell + below
        axes = figure.add_axes((x / wide, y / high, size[0] / wide, tall / high))
        axes.set_title(head, y=1.0)  # a place of its own: looking for one costs as much as drawing the panel
        axes.tick_params(length=2.5)
        panels.append(axes)
    if arms:
        _legend(figure, arms, 1 - (legend[0] - 0.1) / wide, 1 - 0.1 / high)
    if foot:
        figure.text(0.15 / wide, 0.06 / high, foot, fontsize=SMALL, color="0.35", va="bottom")
    return figure, panels


def _legend_size(arms: Collection[str]) -> tuple[float, float]:
    """Inches across and down."""
    if not arms:
        return 0.0, 0.0
    named = [wrap_name(arm) for arm in arms]
    return max(map(width, named)) + 0.75, sum(LINE * lines(name) + 0.07 for name in named) + 0.25


def _legend(figure: Figure, arms: Sequence[str] | Mapping[str, Artist], x: float, y: float) -> None:
    handles = list(arms.values() if isinstance(arms, Mapping) else map(handle, looks(arms).values()))
    figure.legend(
        handles,
        [wrap_name(arm) for arm in arms],
        loc="upper left",
        bbox_to_anchor=(x, y),
        frameon=False,
        borderaxespad=0,
        borderpad=0,
    )


def handle(look: Look) -> Line2D:
    """A look, for a legend."""
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line, markersize=4.5, linewidth=1.4)


def names_room(arms: Sequence[str]) -> tuple[float, float]:
    """Inches that the arms' names take beside a panel, and that an arm takes down."""
    named = [wrap_name(arm) for arm in arms]
    return max(width(name, SMALL) for name in named) + 0.15, max(0.27, LINE * max(map(lines, named)) + 0.07)


def name_rows(axes: Axes, arms: Sequence[str], shown: bool = True) -> None:
    """Arms down the y axis from the top, named or not."""
    axes.set_yticks(range(len(arms)), [wrap_name(arm) for arm in arms] if shown else [""] * len(arms))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(arms) - 0.4, -0.6)


def lay_grid(axes: Axes, axis: Literal["both", "x", "y"] = "y") -> None:
    axes.grid(axis=axis, color="0.92")
    axes.set_axisbelow(True)


def whole_ticks(axes: Axes, last: float) -> None:
    """Ticks of the x axis at whole numbers from 0 to `last`."""
    ticks = np.asarray(MaxNLocator(nbins=8, integer=True, min_n_ticks=1).tick_values(0, last))
    axes.set_xticks(ticks[(ticks >= 0) & (ticks <= last)])


def few_ticks(axes: Axes, most: int = 5) -> None:
    """So few ticks on the x axis that numbers of four decimals stand apart: 5 where a panel is three inches wide."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))


def replicates_key(several: str, replicates: int) -> str:
    """What shows the replicates in a figure: `several`, or that there is one. replicates: most that an arm has."""
    return several if replicates > 1 else "one replicate, so no interval"


def fitted(values: Iterable[float], least: float = 0.02) -> tuple[float, float]:
    """Ends of an axis that shows `values` and little else. least: what it spans, where they lie closer together."""
    known = [float(value) for value in values if np.isfinite(value)] or [0.0]
    middle, half = (min(known) + max(known)) / 2, 0.56 * max(max(known) - min(known), least)
    return middle - half, middle + half


def mark(axes: Axes, y: float) -> None:
    """A dashed line across, for what the curves are held against."""
    axes.axhline(y, color=FAINT, linestyle="--", linewidth=1, zorder=1)


def intervals(by_replicate: np.ndarray) -> np.ndarray:
    """[K, 3] mean, lo, hi of each column of [S, K], less what is NaN; NaN where nothing is left."""
    columns = (column[~np.isnan(column)] for column in np.asarray(by_replicate, dtype=float).T)
    empty = Interval(np.nan, np.nan, np.nan)
    return np.array([mean_interval(column) if len(column) else empty for column in columns]).reshape(-1, 3)


def band(axes: Axes, x: np.ndarray, curve: np.ndarray, look: Look, bounds: tuple[float, float] | None = None) -> None:
    """A curve [K, 3] with its interval: a band, or a bar where there is a single point."""
    mean, lo, hi = curve.T
    lo, hi = (np.clip(lo, *bounds), np.clip(hi, *bounds)) if bounds else (lo, hi)
    axes.plot(x, mean, look.line, marker=look.marker, markersize=4, color=look.colour, linewidth=1.4)
    if len(x) == 1:
        axes.plot([x[0], x[0]], [lo[0], hi[0]], color=look.colour, linewidth=1.4)
    else:
        axes.fill_between(x, lo, hi, color=look.colour, alpha=0.15, linewidth=0)

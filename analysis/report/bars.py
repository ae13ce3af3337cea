"""Intervals as lines of text on one axis, for a terminal: where each lies, and the band within which arms are alike.

                −2      −1       0      +1      +2
    mars      78.2           ░░├░░░│░●░░░──┤          +0.3 [−0.9, +1.5]  not settled
    uniform   77.9             ░░░░│░░░░              reference

Where a line lies says all that its colour says, and a word does too, so nothing is lost without colours. A terminal
that cannot write these characters gets others of the same width.
"""

from __future__ import annotations

import math
import os
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from analysis.exhibits.table import number
from analysis.inference.verdicts import BETTER, WORSE

WIDEST = 110  # columns: a longer line is no easier to read
_NARROWEST, _WANTED = 16, 30  # columns of the axis: never fewer; below the other no interval is written out
_LONGEST = 28  # characters of a name
_GAP = "  "
_TICK = 7  # columns that a label of the axis and the space around it take
_COLOURS = {BETTER: "32", WORSE: "31", "faint": "2", "strong": "1"}
_SHADE, _LEFT, _RIGHT, _LINE, _POINT, _ZERO, _CROSSED = "░", "├", "┤", "─", "●", "│", "┼"
_PLAIN = str.maketrans({
    "░": ":", "├": "[", "┤": "]", "─": "-", "●": "o", "│": "|", "┼": "+", "−": "-", "–": "-", "…": "~", "×": "x",
    "·": ".", "±": "+/-", "½": "1/2", "≥": ">=", "≤": "<=", "α": "alpha", "σ": "sigma", "τ": "tau", "κ": "kappa",
    "ρ": "rho", "“": '"', "”": '"', "’": "'", "′": "'", "∞": "inf",
})  # fmt: skip


@dataclass(frozen=True)
class Screen:
    """What a terminal shows. width: in columns. unicode: whether it writes more than ASCII."""

    width: int = 80
    colours: bool = False
    unicode: bool = True

    @classmethod
    def of(cls, stream: TextIO) -> Screen:
        """Of a stream: 80 columns and no colours where it is no terminal; no colours where NO_COLOR is set."""
        terminal = stream.isatty()
        width = min(shutil.get_terminal_size().columns, WIDEST) if terminal else cls.width
        colours = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        try:
            "░├┤─●│−±".encode(stream.encoding or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return cls(width, colours, unicode=False)
        return cls(width, colours)

    def paint(self, text: str, colour: str) -> str:
        """`text` in a colour of _COLOURS; as it is where it has none, or the screen."""
        code = _COLOURS.get(colour) if self.colours and text.strip() else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text

    def wrap(self, text: str, first: str = "", then: str = "") -> str:
        """`text` in lines that fit. first, then: what the first line and the others begin with."""
        wrapper = textwrap.TextWrapper(self.width, first, then, break_long_words=False, break_on_hyphens=False)
        return wrapper.fill(_printable(text))

    def written(self, text: str) -> str:
        """`text` in characters that it can write."""
        return text if self.unicode else text.translate(_PLAIN).encode("ascii", "replace").decode()


class Bar(NamedTuple):
    """A row. accuracy: as text. value, lo, hi: on the axis, NaN where unknown. said: the numbers. verdict: a word."""

    name: str
    accuracy: str
    value: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    said: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Axis:
    """From `low` to `high` on so many columns. band: half the width of what is shaded around zero; 0: nothing is."""

    low: float
    high: float
    band: float
    columns: int

    @classmethod
    def around(cls, bars: Sequence[Bar], band: float, columns: int) -> Axis:
        """The narrowest with all of the bars on it, and all of the band."""
        known = [end for bar in bars for end in (bar.value, bar.lo, bar.hi) if math.isfinite(end)]
        known += [-band, band] if band else []
        low, high = min(known, default=0.0), max(known, default=0.0)
        room = 0.03 * (high - low) or 1.0
        return cls(low - room, high + room, band, columns)

    def column(self, value: float) -> int:
        """Where a value is."""
        return round((value - self.low) / (self.high - self.low) * (self.columns - 1))

    def ticks(self) -> str:
        """The labels above it, at round numbers."""
        step = _round_step((self.high - self.low) * _TICK / self.columns)
        line = ""
        for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            label = number(i * step, "+g" if self.band else "g") or "0"
            start = self.column(i * step) - len(label) // 2
            if start >= len(line) + bool(line) and start + len(label) <= self.columns:
                line = line.ljust(start) + label
        return line.ljust(self.columns)

    def row(self, bar: Bar) -> str:
        """The bar on it."""
        cells = [" "] * self.columns
        if self.band:
            zero, half = self.column(0.0), max(1, self.column(self.band) - self.column(0.0))
            shaded = range(max(0, zero - half), min(self.columns, zero + half + 1))
            cells = [_ZERO if i == zero else _SHADE if i in shaded else " " for i in range(self.columns)]
        if math.isfinite(bar.lo) and math.isfinite(bar.hi):
            start, end = self.column(bar.lo), self.column(bar.hi)
            for place in range(start, end + 1):
                cells[place] = _CROSSED if cells[place] == _ZERO else _LINE
            cells[start], cells[end] = _LEFT, _RIGHT
        if math.isfinite(bar.value):
            cells[self.column(bar.value)] = _POINT
        return "".join(cells)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, … and their tenths, hundredths, … that is at least so much."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def draw(groups: Sequence[tuple[str, Sequence[Bar]]], band: float, screen: Screen) -> Iterator[str]:
    """The lines of the picture: under each group's title its bars, all of them on one axis."""
    bars = [bar for _, own in groups for bar in own]
    names = max(len(_short(bar.name)) for bar in bars)
    accuracies = max(len(bar.accuracy) for bar in bars)
    numbers, columns = _shares(bars, screen.width - names - accuracies - 2 * len(_GAP))
    said, axis = iter(numbers), Axis.around(bars, band, columns)
    for place, (title, own) in enumerate(groups):
        yield from [""] if place else []
        first, *more = screen.wrap(title).splitlines()
        yield from (screen.paint(first, "strong"), *more)
        yield _GAP.join([" " * names, " " * accuracies, screen.paint(axis.ticks(), "faint")]).rstrip()
        for bar in own:
            before = [_short(bar.name).ljust(names), bar.accuracy.rjust(accuracies)]
            shown = [axis.row(bar), next(said), bar.verdict]
            yield _GAP.join([*before, *(screen.paint(part, bar.verdict) for part in shown)]).rstrip()


def _shares(bars: Sequence[Bar], room: int) -> tuple[list[str], int]:
    """(what is said of each bar, padded, and the columns left for the axis) of so much room behind its accuracy.

    Where the axis would be short, the numbers are said without their intervals, which it shows.
    """
    verdicts = max(len(bar.verdict) for bar in bars)
    for said in ([bar.said for bar in bars], [bar.said.partition(" [")[0] for bar in bars]):
        longest = max(map(len, said))
        columns = room - len(_GAP) * (bool(longest) + bool(verdicts)) - longest - verdicts
        if columns >= _WANTED:
            break
    return [text.ljust(longest) for text in said], max(columns, _NARROWEST)


def _short(name: str) -> str:
    shown = _printable(name)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _printable(text: str) -> str:
    """`text` in one line, without what would steer the terminal: names come from files."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))

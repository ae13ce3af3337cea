"""An `Exhibit`: a frame of numbers that a study holds, shown as a table, as a figure, or as both.

A topic says what is its own: the frame, the columns of its table, what one panel of its figure draws. The shell here
makes a table or a figure of it: panels with their titles, one legend, what is said below, one style. A figure sees only
its frame, so that the numbers of every figure are a csv.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.sheet import Sheet, house_style
from analysis.exhibits.style import Layout
from analysis.exhibits.table import Column, Table
from analysis.study.study import Study


class Panel(NamedTuple):
    """One panel of a figure: its title, and the rows of the frame that it draws."""

    title: str
    frame: pd.DataFrame


class Exhibit:
    """Something a study shows. A table has `columns`, a figure has `panel`; an exhibit of both has one frame for both.

    name: of its files. title, caption: beside it. see: of a figure what to look for, in one plain sentence. by: the
    columns whose values part a table into sections.
    """

    name: str
    title: str
    caption: str = ""
    see: str = ""
    columns: tuple[Column, ...] = ()
    by: tuple[str, ...] = ("dataset", "backbone")

    def frame(self, study: Study) -> pd.DataFrame:
        """The numbers: of a table a row a line; of a figure as `in_panels` makes it, unless `panels` is its own.

        Raises NothingToShow where the study has nothing to fill it with.
        """
        raise NotImplementedError

    def table(self, study: Study) -> Table:
        """The frame as it is read. Raises NothingToShow as `frame` does."""
        frame = self.frame(study)
        caption, columns = self.table_caption(study, frame), self.table_columns(study, frame)
        return Table(self.name, self.title, caption, frame, columns, self.by)

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        """The table's caption, where it depends on what is shown."""
        return self.caption

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        """The table's columns, where they depend on what is shown."""
        return self.columns

    def figure(self, study: Study) -> Sheet:
        """The frame drawn, the same whatever the reader's matplotlibrc says. Raises NothingToShow as `frame` does."""
        return self.draw(study, self.frame(study))

    def draw(self, study: Study, frame: pd.DataFrame) -> Sheet:
        """A figure of a frame that is there already."""
        with house_style():
            panels = self.panels(study, frame)
            known = [panel for panel in panels if panel is not None]
            titles = [None if panel is None else panel.title for panel in panels]
            figure, grid = style.sheet(
                titles, self.layout(study, known), self.legend(study, frame), self.foot(study, frame)
            )
            drawn = list(zip(grid, known, strict=True))
            for axes, panel in drawn:
                self.panel(axes, study, panel.frame)
            self.finish(study, drawn)
        return figure

    def panels(self, study: Study, frame: pd.DataFrame) -> list[Panel | None]:
        """The panels in their order, None where a place is left empty: a frame's `row`s are filled to one width."""
        found = [(rows, Panel(str(rows["title"].iloc[0]), rows)) for _, rows in frame.groupby("panel", sort=False)]
        if "row" not in frame:
            return [panel for _, panel in found]
        lines: dict[int, list[Panel | None]] = {}
        for rows, panel in found:
            lines.setdefault(int(rows["row"].iloc[0]), []).append(panel)
        wide = max(map(len, lines.values()))
        return [panel for line in lines.values() for panel in [*line, *[None] * (wide - len(line))]]

    def layout(self, study: Study, panels: Sequence[Panel]) -> Layout:
        """Where panels are, and how large."""
        raise NotImplementedError

    def legend(self, study: Study, frame: pd.DataFrame) -> Sequence[str] | Mapping[str, Artist]:
        """The arms of the legend: those that anything is known of. Or what else is told apart, and how it is drawn."""
        known = set(frame.dropna(subset=["mean"])["arm"] if "mean" in frame else frame["arm"])
        return [arm for arm in study.arms if arm in known]

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        """What is said below all panels."""
        return ""

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        """Draw one panel from its rows of the frame."""
        raise NotImplementedError

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        """Set what the panels share, such as a scale, once all are drawn."""


def panels_by(frame: pd.DataFrame, keys: Sequence[str]) -> list[Panel | None]:
    """A panel for each value of four columns, titled `dataset / backbone, split: endpoint`."""
    return [Panel("{} / {}, {}: {}".format(*values), rows) for values, rows in frame.groupby(list(keys), sort=False)]


def in_panels(parts: Iterable[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """One frame of the rows of each (title, rows), with the panel's number and title before them."""
    numbered = []
    for panel, (title, rows) in enumerate(parts):
        own = rows.drop(columns=["panel", "title"], errors="ignore")
        own.insert(0, "panel", panel)
        own.insert(1, "title", title)
        numbered.append(own)
    return pd.concat(numbered, ignore_index=True)


def most_replicates(study: Study, arms: Iterable[str]) -> int:
    """How many replicates the arm with most of them has, in one group."""
    runs = study.runs[study.runs["arm"].isin(list(arms))]
    return int(runs.groupby(["dataset", "backbone", "arm"])["replicate"].nunique().max()) if len(runs) else 0

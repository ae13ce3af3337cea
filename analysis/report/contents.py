"""What goes where on a study's page: the first screen, figures with their tables behind them, methods, runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from analysis.exhibits.ranking import Ranking
from analysis.exhibits.table import Table
from analysis.report.forest import forest
from analysis.report.glance import glance
from analysis.report.page import Left, Missing, Page, Picture
from analysis.report.reproduce import reproduction
from analysis.study.study import Study

OVERVIEWS = ("regimes", "gains")  # of all groups at once, however many
_OF_RUNS = ("runs", "left_out")  # tables that are on the page in another form: its section on the runs
_METHODS = ("compute", "pools", "data")  # tables of how the numbers came about, where no figure has them
_BEHIND = {  # table: the figure whose numbers it holds, where that has another name
    "main": "accuracy", "splits": "accuracy", "aggregate": "accuracy", "rewardbench": "sections",
    "benchmarks": "sections", "judges": "win_rates", "compute": "costs",
    "label_equivalence": "learning_curves",
}  # fmt: skip
_CHOICES = 24  # arms that a reader can choose from
_ROWS = 200  # of a table that are on the page, whole groups; its files have them all


class Found(NamedTuple):
    """What came out. said, cautions: of `verdict`. confounded: {group: why it is not counted}."""

    board: Ranking
    compared: pd.DataFrame
    said: Sequence[str]
    cautions: Sequence[str]
    confounded: Mapping[str, str]


class Exhibits(NamedTuple):
    """What there is to show, and what there is nothing for."""

    tables: Sequence[Table]
    figures: Sequence[Picture]
    missing: Sequence[Missing]


def page_of(study: Study, found: Found, exhibits: Exhibits, files: Iterable[str]) -> Page:
    """The page of a study's report, still without its runs. files: names of those beside it."""
    board, compared, cautions = found.board, found.compared, found.cautions
    tables = [_on_page(table) for table in exhibits.tables if table.name not in _OF_RUNS]
    shown = [figure.name for figure in exhibits.figures]
    place = {table.name: _BEHIND.get(table.name, table.name) for table in tables}
    loose = [table for table in tables if place[table.name] not in shown]
    return Page(
        title=f"{'Study' if study.runs['source'].nunique() == 1 else 'Studies'} {study.name}",
        arms=study.arms if len(study.arms) <= _CHOICES else (),
        glance=glance(study, compared, cautions),
        forest=forest(study, board.table.frame, compared),
        facts=tuple(_facts(study)),
        leaderboard=board.table,
        figures=exhibits.figures,
        behind={name: [table for table in tables if place[table.name] == name] for name in shown},
        verdict=found.said,
        notes=[note for note in board.notes if not {note, note.partition(": ")[2]} & set(cautions)],
        methods=sorted(loose, key=lambda table: table.name in _METHODS),
        missing=list(dict.fromkeys(exhibits.missing)),
        left_out=[
            *(Left(run, reason) for run, reason in study.left_out[["run", "reason"]].itertuples(index=False)),
            *(
                Left(title, f"{reason}; shown, neither ranked nor in results.parquet")
                for title, reason in found.confounded.items()
            ),
        ],
        reproduce=reproduction(study),
        files=_links(files),
    )


def _on_page(table: Table) -> Table:
    """The table as the page has it: of a long one the first sections, until there are _ROWS."""
    if table.name in OVERVIEWS or len(table.frame) <= _ROWS:
        return table
    sections = [len(rows) for _, rows in table.sections()]
    shown = next((n for n in range(len(sections), 0, -1) if sum(sections[:n]) <= _ROWS), 1)
    if shown == len(sections) or not table.by:
        return table
    keys = [key for key in table.by if key in table.frame]
    number = table.frame.groupby(keys, sort=False, dropna=False).ngroup()
    note = f"{table.caption} The first {shown} of {len(sections)} sections; the files have them all.".lstrip()
    return replace(table, frame=table.frame[number < shown], caption=note)


def _facts(study: Study) -> Iterator[tuple[str, str]]:
    """What the study is made of."""
    out = f"; {len(study.left_out)} left out" if len(study.left_out) else ""
    yield "Runs", f"{len(study.runs)}, of {len(study.arms)} arms{out}"
    yield "Arms", ", ".join(study.arms)
    yield "Seeds", ", ".join(map(str, sorted(study.runs["seed"].unique())))
    yield "Data / model", "; ".join(title for title, _ in study.groups())
    if study.splits:
        yield "Test splits", ", ".join(study.splits)
    if "commit" in study.runs:
        yield "Commit", ", ".join(commit[:8] for commit in dict.fromkeys(study.runs["commit"].dropna()))


def _links(files: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """The page's links to the report's other files, by the part of the page they belong to."""
    links: dict[str, list[tuple[str, str]]] = {}
    for name in files:
        kind, _, file = name.rpartition("/")
        stem, _, form = file.partition(".")
        links.setdefault(f"{kind.removesuffix('s') or 'table'}-{stem}", []).append((form, name))
    return links

"""A report as one HTML file: opens from disk, needs no network, and no script to be read.

The template, the style and the script lie in `page_files/` and are put into the page, figures as data URIs; a policy in
its head forbids the browser any request. Everything shown is handed over as plain data, so the page knows nothing of
studies: the report of one and the leaderboard of many are the same page with other contents.

    render(Page(title="quick", tables=(table,)))
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from analysis.exhibits.table import Table, number
from analysis.report.reproduce import Reproduction

GENERATOR = "mars-reward"  # by which a page of this project is known
DENSE = 24  # rows of the headline figure: more are drawn close together, without names


class Picture(NamedTuple):
    """A figure as it is shown. png: the file's bytes. width, height: as shown, in CSS pixels. see: what to look for."""

    name: str
    title: str
    caption: str
    png: bytes
    width: int
    height: int
    see: str = ""

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


class Fact(NamedTuple):
    """A number of the first screen. detail: what it is made of."""

    value: str
    label: str
    detail: str


class Glance(NamedTuple):
    """The first screen's words. cautions: what speaks against the sentence, the most important first."""

    sentence: str
    meaning: str
    facts: tuple[Fact, ...]
    cautions: tuple[str, ...]


class Mark(NamedTuple):
    """A difference as it is drawn: places in % of the width, NaN ends where there is no interval."""

    at: float
    lo: float
    hi: float


class Line(NamedTuple):
    """A row. arm: which it is of. aside: a second line. href: of the runs behind it. mark: None for the reference."""

    arm: str
    name: str
    aside: str
    href: str
    difference: str
    interval: str
    focus: bool
    mark: Mark | None


class Forest(NamedTuple):
    """The figure. of: what its lines are. zero, band, ticks: places in %. margin: of the band, in words."""

    title: str
    of: str
    lines: tuple[Line, ...]
    margin: str
    zero: float
    band: tuple[float, float]
    ticks: tuple[tuple[float, str], ...]

    @property
    def dense(self) -> bool:
        """Whether rows are too many to have names."""
        return len(self.lines) > DENSE


class Missing(NamedTuple):
    """A table or figure with nothing to show, and what would fill it."""

    name: str
    reason: str


class ListedRun(NamedTuple):
    """A run as the page lists it. anchor: its id, to which numbers link. href: of its directory, empty without one.

    accuracy: on its main split, 0 to 1; it and steps are NaN where unknown. files: (name, href) of its records.
    """

    anchor: str
    name: str
    seed: int
    accuracy: float
    steps: float
    commit: str
    href: str
    files: tuple[tuple[str, str], ...]


class ListedArm(NamedTuple):
    """An arm of a group and its runs. anchor: its id."""

    anchor: str
    arm: str
    runs: tuple[ListedRun, ...]


class ListedGroup(NamedTuple):
    """A `dataset / backbone` group. split: of the accuracies."""

    title: str
    split: str
    arms: tuple[ListedArm, ...]


class Left(NamedTuple):
    """A run that is not counted."""

    run: str
    reason: str


@dataclass(frozen=True)
class Page:
    """What a page shows, in this order; what is empty has no section.

    arms: that a reader may choose from. glance, forest: the first screen. facts: (name, value), below the title where
    there is no glance. leaderboard: the first table, with its `notes`. Where there is a glance it is folded, as are
    `behind`, {figure: its tables}, and `methods`; `tables` are open. files: (name, href) of a table's or figure's
    files, under `table-NAME` and `figure-NAME`.
    """

    title: str
    arms: Sequence[str] = ()
    glance: Glance | None = None
    forest: Forest | None = None
    facts: Sequence[tuple[str, str]] = ()
    leaderboard: Table | None = None
    tables: Sequence[Table] = ()
    figures: Sequence[Picture] = ()
    behind: Mapping[str, Sequence[Table]] = field(default_factory=dict)
    verdict: Sequence[str] = ()
    notes: Sequence[str] = ()
    methods: Sequence[Table] = ()
    missing: Sequence[Missing] = ()
    runs: Sequence[ListedGroup] = ()
    left_out: Sequence[Left] = ()
    reproduce: Reproduction = field(default_factory=Reproduction)
    files: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)


def render(page: Page) -> str:
    """The page as HTML: the same text for the same page."""
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()  # as it stands in the page
    own: dict[str, Any] = {"style": _file("page.css"), "script": script, "script_hash": f"sha256-{digest}"}
    return _template().render(page=page, generator=GENERATOR, **own)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"scrolling": scrolling, "breaking": breaking, "number": number}
    return environment.from_string(_file("page.html"))


def _file(name: str) -> Markup:
    return Markup((resources.files("analysis.report") / "page_files" / name).read_text(encoding="utf-8"))


def scrolling(table: Table) -> Markup:
    """The table's HTML, made to fit: each part scrolls in itself, long texts and column heads may take more lines."""
    html = re.sub(r'<td(?= data-value="[^"]{50,}")', '<td class="long"', table.to_html())
    html = re.sub(r'<th scope="row"([^>]*)></th>', r"<td\1></td>", html)  # nothing is no heading
    html = re.sub(r'(?<=<th scope="col")[^<]*', lambda head: breaking(Markup(head[0])), html)
    part = r'<div class="scroll" role="region" tabindex="0" aria-label="\1">\g<0></div>'
    return Markup(re.sub(r'<table aria-label="([^"]*)".*?</table>', part, html, flags=re.DOTALL))


def breaking(name: str) -> Markup:
    """A name that may go on in the next line after each `_`."""
    return Markup(escape(name).replace("_", Markup("_<wbr>")))

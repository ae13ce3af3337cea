"""A study's directory to everything a reader wants, under DIR/report/.

    python -m analysis.report study=outputs/quick
    python -m analysis.report study=outputs/mine allow_confounded=true   # rank arms that differ in more than strategy
    python -m analysis.report study=[outputs/hh,outputs/uf] out=outputs/both

Reads, never trains, and writes nothing outside the report but a font, into matplotlib's cache; the same study gives
the same bytes, so a report can be checked in and compared. All of it is made before any of it is written: what fails
leaves the last report as it was. What a study holds nothing for is listed on the page with what would fill it. A study
of many groups, such as a map of regimes, has one picture over all of them; what has panels for each group shows those
of the first, and says so.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.exhibits import FIGURES, TABLES, find
from analysis.exhibits.ranking import Ranking, rank
from analysis.exhibits.table import Table, csv_text
from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import compare
from analysis.report.contents import OVERVIEWS, Exhibits, Found, page_of
from analysis.report.page import GENERATOR, Missing, Picture, render
from analysis.report.run_list import list_runs
from analysis.report.terminal import shown
from analysis.report.verdict import sentences, warnings
from analysis.study.arm_names import has
from analysis.study.loading import load, without_collecting
from analysis.study.parallel import made
from analysis.study.results_table import tidy, to_parquet
from analysis.study.study import FOCUS, MARGINS, REFERENCE, NothingToShow, Study
from mars.config import UserError, build, nearest
from mars.files import writing

log = logging.getLogger("analysis.report")  # also when it runs as __main__

PAGE, RESULTS = "index.html", "results.parquet"
_OWNED = (  # all that a report may make, and so may remove when it no longer does
    PAGE, RESULTS, "leaderboard.csv", "leaderboard.md", "verdict.md",
    *(f"tables/{name}.{form}" for name in TABLES for form in ("csv", "md", "tex")),
    *(f"figures/{name}.{form}" for name in FIGURES for form in ("png", "pdf", "csv")),
)  # fmt: skip
_MANY = 6  # groups: of more than so many, figures with panels for each show the first


@dataclass(frozen=True)
class ReportConfig:
    """conf/report.yaml, checked."""

    study: str | list[str]
    out: str | None = None
    allow_confounded: bool = False
    reference: str = REFERENCE
    focus: str | None = None
    margin: float = 100 * MARGINS["accuracy"]
    margin_bits: float = MARGINS["information"]
    debug: bool = False

    def __post_init__(self) -> None:
        if not self.sources or not all(source.strip() for source in self.sources):
            raise ValueError("study: must name a directory, or several as [A,B], or wandb:ENTITY/PROJECT")
        for key in ("reference", "focus"):
            if (named := getattr(self, key)) is not None and not named.split():
                raise ValueError(f"{key}: must name an arm")
        for key in ("margin", "margin_bits"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key}: must be above 0, not {getattr(self, key)}")

    @property
    def way(self) -> dict[str, Any]:
        """How the study is judged, as `Study.judged` takes it."""
        margins = {"accuracy": self.margin / 100, "information": self.margin_bits}
        named = {"reference": self.reference, "allow_confounded": self.allow_confounded, "margins": margins}
        return named | ({"focus": self.focus} if self.focus else {})

    @property
    def sources(self) -> list[str]:
        return [self.study] if isinstance(self.study, str) else self.study


def report(sources: str | Path | Sequence[str | Path], out: str | Path | None = None, **way: Any) -> Path:
    """Write the report and print leaderboard and verdict. Returns its directory: `out`, or `report` in the study's.

    sources: directories of runs, or wandb:ENTITY/PROJECT. way: how they are judged (`Study.judged`).

    Raises UserError when a study is missing or holds no finished run, or `out` is no report.
    """
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    directory = _directory(sources, out)
    study = load(*sources)
    if study.settled is not None and way.get("margins", study.margins) != study.margins:
        raise UserError("margin: the rule of this study fixed its margins before the first replicate (leave it away)")
    study = study.judged(**way)
    _check_named(study, way)
    with without_collecting():
        compared = compare(study)
        found, files = _files(study, compared, directory)
        _write(files, directory)
        for refusal in found.board.refusals:
            log.warning("%s", refusal)
        print(shown(study, found.board, compared, found.cautions, directory / PAGE))
    return directory


def _check_named(study: Study, way: Mapping[str, Any]) -> None:
    """Raises UserError for an arm that was named and did not run; that the usual ones may be missing is no mistake."""
    fitting = {
        "focus": [arm for arm in study.arms if study.in_focus(arm)],
        "reference": [arm for arm in study.arms if has(arm, study.reference)],
    }
    for key, usual in (("focus", FOCUS), ("reference", REFERENCE)):
        if (named := way.get(key, usual)) != usual and not fitting[key]:
            raise UserError(f'{key}: no arm of the study is "{named}"{nearest(named, study.arms)}')


def _directory(sources: Sequence[str | Path], out: str | Path | None) -> Path:
    """Where the report belongs."""
    if out is None:
        if len(sources) > 1 or str(sources[0]).startswith("wandb:"):
            raise UserError("out: is required for several studies and for W&B (give the report's directory, out=DIR)")
        return Path(sources[0]) / "report"
    directory = Path(out)
    page = directory / PAGE
    ours = page.is_file() and GENERATOR in page.read_text(encoding="utf-8", errors="replace")[:2000]
    ours = ours and not (directory / "refused.csv").exists()  # that is a leaderboard
    if not ours and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"out: {directory} exists and is no report (give a directory that is new, empty or a report)")
    return directory


def _files(study: Study, compared: pd.DataFrame, directory: Path) -> tuple[Found, dict[str, bytes]]:
    """What came out, and every file of the report by its name in `directory`, the page last."""
    confounded = _confounded(study)
    reasons = (study.runs["dataset"] + " / " + study.runs["backbone"]).map(confounded)
    uncounted = study.runs.assign(reason=reasons)[reasons.notna()][list(study.left_out)]
    listed_out = replace(study, left_out=pd.concat([study.left_out, uncounted], ignore_index=True))
    board, said, cautions, tables, figures = _parts(study, compared, listed_out)
    files = {
        "leaderboard.csv": board.table.to_csv().encode(),
        "leaderboard.md": board.to_markdown().encode(),
        "verdict.md": _verdict(said, cautions).encode(),
        RESULTS: to_parquet(tidy(study, study.runs.loc[reasons.isna(), "run"])),
        **{name: content for one in (*tables, *figures) for name, content in one.files.items()},
    }
    found = Found(board, compared, said, cautions, confounded)
    exhibits = Exhibits(
        [one.shown for one in tables if isinstance(one.shown, Table)],
        [one.shown for one in figures if isinstance(one.shown, Picture)],
        [one.shown for one in (*tables, *figures) if isinstance(one.shown, Missing) and one.shown.name != "left_out"],
    )
    page = page_of(study, found, exhibits, files)
    return found, files | {PAGE: render(replace(page, runs=list_runs(study, directory))).encode()}


def _confounded(study: Study) -> dict[str, str]:
    """Why the groups are not counted whose arms may not be compared: {title: reason}."""
    found = {title: why_not_comparable(group) for title, group in study.groups()}
    return {title: f"confounded: arms differ in {why}" for title, why in found.items() if why}


class _Made(NamedTuple):
    """A table or figure, or that there is nothing for it; its files by their names."""

    shown: Table | Picture | Missing
    files: Mapping[str, bytes]


class _Parts(NamedTuple):
    """What a report is made of. said, cautions: of `verdict`."""

    board: Ranking
    said: Sequence[str]
    cautions: Sequence[str]
    tables: Sequence[_Made]
    figures: Sequence[_Made]


def _parts(study: Study, compared: pd.DataFrame, listed_out: Study) -> _Parts:
    """All parts, on all cores: what takes longest first.

    listed_out: the study with all that `left_out` lists.
    """
    few, note = _few(study)

    def figure(name: str) -> _Made:
        return _figure(name, study, "") if name in OVERVIEWS else _figure(name, few, note)

    def table(name: str) -> _Made:
        return _table(name, listed_out if name == "left_out" else study)

    pieces: list[Callable[[], Any]] = [
        partial(rank, study),
        partial(sentences, study, compared),
        partial(warnings, study),
        *(partial(figure, name) for name in FIGURES),
        *(partial(table, name) for name in TABLES),
    ]
    board, said, cautions, *others = made(lambda piece: piece(), pieces)
    return _Parts(board, said, cautions, others[len(FIGURES) :], others[: len(FIGURES)])


def _table(name: str, study: Study) -> _Made:
    try:
        table = find(TABLES, name, "table").table(study)
    except NothingToShow as reason:
        return _missing(name, reason)
    return _Made(table, {f"tables/{name}.{form}": text.encode() for form, text in table.forms()})


def _figure(name: str, study: Study, note: str) -> _Made:
    """note: said below its caption."""
    shown = find(FIGURES, name, "figure")
    try:
        frame = shown.frame(study)
    except NothingToShow as reason:
        return _missing(name, reason)
    figure = shown.draw(study, frame)
    png, small, (width, height) = figure.pixels()
    forms = {"png": png, "pdf": figure.pdf(), "csv": csv_text(frame).encode()}
    picture = Picture(name, shown.title, shown.caption + note, small, width, height, shown.see)
    return _Made(picture, {f"figures/{name}.{form}": content for form, content in forms.items()})


def _few(study: Study) -> tuple[Study, str]:
    """What figures have room for, the study or its first group alone, and what to say of the others."""
    groups = list(study.groups())
    if len(groups) <= _MANY:
        return study, ""
    return groups[0][1], f" The first of {len(groups)} groups; study.figure(NAME) draws them all."


def _missing(name: str, reason: NothingToShow) -> _Made:
    return _Made(Missing(name, str(reason).removeprefix(f"{name}: ")), {})


def _verdict(sentences: Sequence[str], cautions: Sequence[str]) -> str:
    parts = ["# Verdict", "\n".join(f"- {line}" for line in sentences)]
    if cautions:
        parts += ["## Warnings", "\n".join(f"- {line}" for line in cautions)]
    return "\n\n".join(parts) + "\n"


def _write(files: Mapping[str, bytes], directory: Path) -> None:
    """Put `files` in the place of the report that is there; what is not a report's stays."""
    written = directory.parent / f".{directory.name}.new"
    shutil.rmtree(written, ignore_errors=True)  # of a report that was stopped
    try:
        _replace(files, directory, written)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _replace(files: Mapping[str, bytes], directory: Path, written: Path) -> None:
    with writing(directory):
        for name, content in files.items():
            (written / name).parent.mkdir(parents=True, exist_ok=True)
            (written / name).write_bytes(content)
        for name in sorted(files, key=lambda name: name != PAGE):  # the page first: it marks a report as one
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(written / name, directory / name)
        for name in set(_OWNED) - set(files):
            (directory / name).unlink(missing_ok=True)


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/report.yaml, resolved."""
    settings = build(ReportConfig, cfg, "")
    report(settings.sources, settings.out, **settings.way)


def main() -> None:
    from mars.cli import command

    command("report", run)()

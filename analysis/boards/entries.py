"""What somebody sent, or a directory of one's own, to entries whose every number was taken afresh from their scores.

A board of many people's runs is worth what is checked before a run is on it. Nothing is believed that can be computed:
files are those that were packed, tables are whole, protocols are what the tables bear out, and metrics are recomputed.
A run with one thing wrong is refused as a whole, with that thing in a line. What no check here can see is whether a
model produced the scores; the manifest says how to run it again.

    entries, refused = read(Path("team_x"))
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from analysis.boards.bounds import (
    LARGEST_RECORD,
    LONGEST_NAME,
    MOST_RUNS,
    check_file,
    check_name,
    check_values,
    directories,
    plain,
    readable,
)
from analysis.boards.evaluations import Scored, evaluations, measure
from analysis.study.run_files import as_run
from analysis.study.study import Run
from mars.config import UserError
from mars.files import digest, file_digest
from mars.record.facts import check_schema, json_object
from mars.record.layout import MANIFEST
from mars.record.run_directory import RunDirectory

SUBMISSION = "submission.json"
OF_A_RUN = (
    "run_id", "method", "dataset", "backbone", "seed", "steps", "start", "weights", "template", "max_length",
    "truncation", "base_sha256", "test_sha256",
)  # fmt: skip
_OF_WEIGHTS = ("name", "weights")
_LONGEST = 80  # characters of a submission's name
_OF_A_MODEL = (*_OF_WEIGHTS, "template", "max_length", "truncation", "dtype", "architecture", "dataset", "backbone")
OF_A_MODEL = ("run_id", "model")  # what the manifest of a model holds that was judged and not trained here


class Refused(NamedTuple):
    """Something that is on no board. by: the study or submission. run: empty where all of it is refused."""

    by: str
    run: str
    reason: str


class Place(NamedTuple):
    """A directory to be read. hashes: {file: sha256} where a submission lists them."""

    directory: Path
    by: str
    hashes: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Entry:
    """A run, or a model that was judged, that passed. hashed: its files are those that a submission lists.

    run: as a report has it, None of a model from elsewhere.
    """

    name: str
    by: str
    directory: Path
    manifest: Mapping[str, Any]
    scored: tuple[Scored, ...]
    hashed: bool
    run: Run | None = None

    @property
    def trained(self) -> bool:
        """Whether it is a run of an arm, and no model from elsewhere."""
        return self.run is not None

    @property
    def commit(self) -> str:
        """Of the code that trained a run; empty where none is recorded."""
        git = self.manifest.get("git")
        return str((git if isinstance(git, Mapping) else {}).get("commit") or "")

    @property
    def title(self) -> str:
        """A run's id, a model's name."""
        return self.id if self.trained else str(self.manifest["model"]["name"])

    @property
    def id(self) -> str:
        """What it is, wherever it lies: a run's id, a model's weights and how text reached them."""
        if self.trained:
            return str(self.manifest["run_id"])
        model = self.manifest["model"]
        return digest([model.get(key) for key in ("weights", "template", "max_length", "truncation", "dtype")])


def read(source: Path) -> tuple[list[Entry], list[Refused]]:
    """The entries of a study, a run, an evaluation or a submission, and what of it is refused.

    Raises UserError where there is no such directory, or nothing in it that could be an entry.
    """
    found, refused = places(source)
    entries = []
    for place in found:
        try:
            entries.append(check(place))
        except UserError as error:
            refused.append(_refused(place.by, place.directory.name, str(error)))
        except Exception as error:  # what somebody sent may be anything, and must not keep the others from being read
            what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            refused.append(_refused(place.by, place.directory.name, f"its records are not as they should be ({what})"))
    return entries, refused


def _refused(by: str, run: str, reason: str) -> Refused:
    """Fit to be shown, whatever was sent."""
    return Refused(plain(by), plain(run), plain(reason, 500))


def places(source: Path) -> tuple[list[Place], list[Refused]]:
    """Where entries may lie, and what is refused unread: a submission that does not hold what it lists."""
    if not source.is_dir():
        raise UserError(f"studies: {source} is not a directory (a study, a run, an evaluation or a submission)")
    by = source.resolve().name
    if os.path.lexists(source / SUBMISSION):
        try:
            return _submitted(source)
        except UserError as error:
            return [], [_refused(by, "", str(error))]
    if _is_entry(source):
        return [Place(source, source.resolve().parent.name)], []
    inner = (source / entry.name for entry in directories(source) if entry.is_dir() and entry.name[0] != ".")
    found = [Place(directory, by) for directory in inner if _is_entry(directory)]
    if not found:
        raise UserError(f"studies: {source} holds no run, no evaluation and no submission")
    return found, []


def check(place: Place) -> Entry:
    """The entry at `place`. Raises UserError with what is wrong first."""
    directory = place.directory
    files = readable(directory, closed=place.hashes is not None)
    if place.hashes is not None:
        _check_files(files, place.hashes)
    home = RunDirectory(directory)
    if place.hashes is not None and not home.file(MANIFEST):
        raise UserError(f"{MANIFEST} is not there (every run of a submission has one)")
    facts, problems = home.read(measure)
    if problems:
        raise UserError(str(problems[0]) + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""))
    for value in (facts.manifest, facts.metrics, facts.records):
        check_values(value)
    _check_manifest(facts.manifest)
    manifest = {key: value for key, value in facts.manifest.items() if not key.endswith("_ids")}
    scored = evaluations(facts)
    run = replace(as_run(facts, place.by, directory), scores={}) if facts.trained else None
    return Entry(directory.name, place.by, directory, manifest, scored, place.hashes is not None, run)


def _is_entry(directory: Path) -> bool:
    home = RunDirectory(directory)
    return home.is_run or bool(home.tables())


def _submitted(source: Path) -> tuple[list[Place], list[Refused]]:
    """Raises UserError for a submission.json that cannot be used."""
    if (source / SUBMISSION).is_symlink():
        raise UserError(f"{SUBMISSION} is a link")
    check_file(source / SUBMISSION, SUBMISSION, LARGEST_RECORD)
    try:
        told = json_object(source / SUBMISSION)
        check_schema(told)
    except UserError as error:
        raise UserError(f"{SUBMISSION}: {error}") from None
    name, runs = told.get("name"), told.get("runs")
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise UserError(f"{SUBMISSION}: name is missing, or no line of at most {_LONGEST} characters")
    if not isinstance(runs, dict) or not all(isinstance(files, dict) for files in runs.values()):
        raise UserError(f"{SUBMISSION}: runs is no table of directories and their files")
    if len(runs) > MOST_RUNS:
        raise UserError(f"{SUBMISSION}: lists more than {MOST_RUNS:,} directories")
    there = {entry.name: entry for entry in directories(source) if entry.name != SUBMISSION and entry.name[0] != "."}
    places, refused = [], []
    for run in sorted(set(there) | set(runs)):
        try:
            places.append(_listed(source, name, run, there, runs))
        except UserError as error:
            refused.append(_refused(name, run, str(error)))
    return places, refused


def _listed(source: Path, name: str, run: str, there: Mapping[str, os.DirEntry[str]], runs: Mapping[str, Any]) -> Place:
    """The directory `run` of the submission `name`. Raises UserError where it is not one that is listed and there."""
    check_name(run)
    if run not in there:
        raise UserError(f"{SUBMISSION} lists it, and it is not there")
    if there[run].is_symlink():
        raise UserError("is a link")
    if not there[run].is_dir():
        raise UserError("does not belong in a submission, which holds directories")
    if run not in runs:
        raise UserError(f"{SUBMISSION} does not list it")
    return Place(source / run, name, runs[run])


def _check_files(there: Mapping[str, Path], hashes: Mapping[str, Any]) -> None:
    """Raises UserError unless the files are those listed, byte by byte. there: with nothing wrong but their content."""
    for name in sorted(set(there) | set(hashes)):
        if name not in there:
            raise UserError(f"{plain(name)} is listed in {SUBMISSION} and not there")
        if name not in hashes:
            raise UserError(f"{name} is not listed in {SUBMISSION}")
    for name, path in there.items():
        if file_digest(path) != hashes[name]:
            raise UserError(f"{name} is not the file that was packed (its sha256 is another)")


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raises UserError where it does not say what is needed to tell a run, or a model, from every other."""
    model = manifest.get("model")
    trained = "method" in manifest
    if missing := [key for key in (OF_A_RUN if trained else OF_A_MODEL) if manifest.get(key) is None]:
        raise UserError(f"{MANIFEST} lacks {', '.join(missing)}")
    if odd := [key for key in OF_A_RUN if not _is_value(manifest.get(key, ""))]:
        raise UserError(f"{MANIFEST}: {odd[0]} is neither text that is short and can be shown, nor number")
    if not trained and not (isinstance(model, dict) and all(isinstance(model.get(k), str) for k in _OF_WEIGHTS)):
        raise UserError(f"{MANIFEST} does not say which model it is of (model.name, model.weights)")
    if isinstance(model, dict) and (odd := [key for key in _OF_A_MODEL if not _is_value(model.get(key, ""))]):
        raise UserError(f"{MANIFEST}: model.{odd[0]} is neither text that is short and can be shown, nor number")


def _is_value(value: Any) -> bool:
    """Whether it is a number or a text that fits in a cell of a board."""
    if isinstance(value, str):
        return len(value) <= LONGEST_NAME and value.isprintable()
    return value is None or (isinstance(value, int | float) and math.isfinite(value))

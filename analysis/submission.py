"""Pack a finished study, or a model that was judged, for somebody else's leaderboard: what is needed to check it.

    python -m analysis.submission study=outputs/quick out=team_x name="Team X"
    python -m analysis.submission study=outputs/evaluations out=team_x name="Team X" code=https://example.org/team-x

Manifests, settings, scores of each example and the digests of all these files go in; weights do not, nor any text: a
score table is let through by its columns, so no row of a data set can be read out of it. The packed folder is checked
as the leaderboard will check it, and appears whole or not at all. docs/submitting.md says what is refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.boards.board import make
from analysis.boards.entries import SUBMISSION, Place, Refused, places, read
from mars.config import UserError, build
from mars.files import file_digest, write_json, writing
from mars.record.facts import SCHEMA_VERSION
from mars.record.layout import PASSED_ON
from mars.record.run_directory import RunDirectory


@dataclass(frozen=True)
class SubmissionConfig:
    """conf/submission.yaml, checked. code: where the code is; the commits that ran are recorded beside it."""

    study: str
    out: str
    name: str
    description: str = ""
    contact: str | None = None
    code: str | None = None
    debug: bool = False

    def __post_init__(self) -> None:
        for key in ("study", "out", "name"):
            if not getattr(self, key).strip():
                raise ValueError(f"{key}: is empty")


def submit(settings: SubmissionConfig) -> Path:
    """Pack and check; returns the folder. Raises UserError, with nothing written, where a leaderboard would refuse."""
    out = Path(settings.out)
    if out.exists():
        raise UserError(f"out: {out} is there already (name another folder, or remove it)")
    found, _ = places(Path(settings.study))
    if any(place.hashes is not None for place in found) or not found:
        raise UserError(f"study: {settings.study} is a submission already")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out), tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        folder = Path(aside) / "packed"
        for place in found:
            _pack(place, folder / place.directory.name)
        write_json(folder / SUBMISSION, _described(settings, folder))
        entries, refused = read(folder)
        _, apart, _ = make(entries)
        if wrong := [*refused, *apart]:
            raise UserError(_refusal(wrong, len(found)))
        os.replace(folder, out)
    return out


def _pack(place: Place, into: Path) -> None:
    """Copy what goes in; a model that has no manifest gets one."""
    source = RunDirectory(place.directory)
    into.mkdir(parents=True)
    known = [path for name in PASSED_ON if (path := source.file(name))]
    for path in [*known, *source.tables().values(), *source.records().values()]:
        copy = into / path.relative_to(source.path)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, copy)
    if not source.is_run:
        facts, problems = source.read()
        if problems:
            raise UserError(f"study: {source.path}: {problems[0]}")
        RunDirectory(into).write_manifest(facts.manifest)


def _described(settings: SubmissionConfig, folder: Path) -> dict[str, Any]:
    """submission.json of what was packed."""
    runs = sorted(path for path in folder.iterdir() if path.is_dir())
    return {
        "schema_version": SCHEMA_VERSION,
        "name": settings.name,
        "contact": settings.contact,
        "description": settings.description,
        "code": {"url": settings.code, "commits": sorted({commit for run in runs for commit in _commits(run)})},
        "runs": {run.name: _digests(run) for run in runs},
    }


def _digests(run: Path) -> dict[str, str]:
    files = sorted(path for path in run.rglob("*") if path.is_file())
    return {path.relative_to(run).as_posix(): file_digest(path) for path in files}


def _commits(run: Path) -> list[str]:
    """The commits of the code that trained and judged, `+` behind one with changes that were never committed."""
    facts, _ = RunDirectory(run).read()
    told = [facts.manifest, *(record.get("environment") or {} for record in facts.records.values())]
    git: list[Mapping[str, Any]] = [one.get("git") or {} for one in told]
    return [f"{one['commit']}{'+' if one.get('dirty') else ''}" for one in git if one.get("commit")]


def _refusal(refused: Sequence[Refused], number: int) -> str:
    first = refused[0]
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return f"study: {len(refused)} of {number} would be refused; {first.run or SUBMISSION}: {first.reason}{more}"


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/submission.yaml, resolved. Prints the folder."""
    print(submit(build(SubmissionConfig, cfg, "")))


def main() -> None:
    from mars.cli import command

    command("submission", run)()


if __name__ == "__main__":
    main()

"""Whose replies a judge preferred: the judgements that lie in a study's runs, RUN/judgements/OURS-vs-THEIRS/JUDGE/.

    python -m benchmarks.judge study=DIR ours=best_of_n-16 theirs=best_of_n-1 judge=gold

A judgement belongs to the run in whose directory it lies, and so to its arm, dataset, backbone and replicate. It is
counted only while it is of the replies that lie beside it, and of those that the run has now.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.study.study import Run, Study
from benchmarks.judges.generations import Comparison, read_generations, stem
from benchmarks.judges.verdicts import COLUMNS, RECORD, VERDICTS
from mars.config import UserError
from mars.files import file_digest
from mars.record.facts import json_object
from mars.record.layout import judgements_of, replies_of


class Contest(NamedTuple):
    """What was judged, by whom: the run's policy, what it was compared with, the judge's label."""

    policy: str
    opponent: str
    judge: str


@dataclass(frozen=True, eq=False)
class Judgement:
    """One run's. table: of `benchmarks.judges.verdicts`; comparisons: what it judged, one for each two rows."""

    contest: Contest
    record: Mapping[str, Any]
    table: pd.DataFrame
    comparisons: Sequence[Comparison]


class Found(NamedTuple):
    """The judgements of a run, and why others are not counted, a line each."""

    judgements: tuple[Judgement, ...]
    problems: tuple[str, ...]


@functools.lru_cache(maxsize=512)
def of_run(run: Run) -> Found:
    """What lies in the run's directory; nothing where it has none."""
    found: list[Judgement] = []
    problems = []
    for path in sorted(run.directory.glob(f"{judgements_of('*', '*')}/*/{RECORD}")) if run.directory else ():
        try:
            found.append(_read(path, run.directory or path))
        except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            label = "/".join(path.parts[-3:-1])
            problems.append(f"{run.name}: judgement {label} is not counted: {' '.join(str(error).split())}")
    return Found(tuple(found), tuple(problems))


def contests(study: Study) -> list[Contest]:
    """What was judged in any run of the study, by name."""
    return sorted({one.contest for name in study.runs["run"] for one in of_run(study.members[name]).judgements})


def judgement(run: Run, contest: Contest) -> Judgement | None:
    """The run's judgement of a contest."""
    return next((one for one in of_run(run).judgements if one.contest == contest), None)


def _read(path: Path, run: Path) -> Judgement:
    """Raises UserError for a judgement of other replies than those that are there, and as reading does."""
    folder, record = path.parent.parent, json_object(path)
    table = pd.read_parquet(path.with_name(VERDICTS))
    if missing := [name for name in COLUMNS if name not in table]:
        raise UserError(f"{VERDICTS} lacks {', '.join(missing)}")
    (ours,) = record["ours"]["files"]
    now = run / replies_of(policy := stem(ours["file"]))
    if now.exists() and file_digest(now) != ours["sha256"]:
        raise UserError(f"{replies_of(policy)} has changed since (judge it again with force=true)")
    sides = [read_generations(folder / name).rows for name in ("ours.json", "theirs.json")]
    first = table.iloc[0::2]
    told = [first[f"{side}_length"].tolist() for side in ("ours", "theirs")]
    if [[len(row.reply) for row in rows] for rows in sides] != told or 2 * len(first) != len(table):
        raise UserError("it judged other replies than ours.json and theirs.json have (judge again with force=true)")
    comparisons = [
        Comparison(one.prompt, one.reply, other.reply, key, occurrence, id=one.id)
        for one, other, key, occurrence in zip(*sides, first["prompt"], first["occurrence"], strict=True)
    ]
    opponent = stem(record["theirs"]["files"][0]["file"])
    return Judgement(Contest(policy, opponent, path.parent.name), record, table, comparisons)


def identity(record: Mapping[str, Any]) -> str:
    """The judge of a record as text, the same where it judges in the same way."""
    return json.dumps([record.get("judge"), record.get("wording")], sort_keys=True)

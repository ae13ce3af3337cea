"""The evaluations of a run or model, each taken afresh from its score table and compared with what is stated of it.

Numbers, protocol, counts and digests of an evaluation are stated in three files that anybody can edit. Each is made
again here from the table of scores, and one that does not come out costs the whole run: who edits one number may have
edited others. Stated intervals are neither checked nor used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.boards.score_tables import read_scores
from analysis.study.checks import unlike
from analysis.study.study import BENCHMARK
from benchmarks.choices import names, recompute, remade
from benchmarks.pair_metrics import VALIDATION
from benchmarks.protocol import Parts, settled
from mars.config import UserError
from mars.files import digest

SCHEMA_VERSION = 1  # of manifest.json, of evaluations/*.json and of submission.json, the newest that is understood
_BESIDE = "released_v1"
_NAMES_ROWS = ("sha256", "pairs_sha256", "hub", "revision", "split", "fingerprint")  # keys of a record's data


class Scored(NamedTuple):
    """One evaluation of an entry. protocol: less what moves no number. rows: digest of the test rows."""

    label: str
    benchmark: str
    protocol: Mapping[str, Any]
    rows: str
    table: pd.DataFrame
    metrics: Parts


def evaluations(directory: Path, manifest: Mapping[str, Any]) -> tuple[Scored, ...]:
    """Every evaluation, the in-distribution one first. Raises UserError for the first thing that does not add up."""
    file = directory / "metrics.json"
    stated = read_json(file) if file.exists() else {}
    found = tuple(_scored(directory, label, manifest, stated) for label in _labels(directory, stated))
    if _BESIDE in stated and _BESIDE not in (scored.label for scored in found):
        _check_beside(stated[_BESIDE], found[0])
    return found


def _labels(directory: Path, stated: Mapping[str, Any]) -> list[str]:
    """The evaluations that are there, whole. Raises UserError for numbers without scores, scores without a record."""
    tables = {path.stem for path in directory.glob("scores/*.parquet") if not path.stem.endswith(".failed")}
    recorded = {path.stem for path in directory.glob("evaluations/*.json")}
    if not tables:
        raise UserError("scores/ holds no table (numbers without scores cannot be checked)")
    beside = {_BESIDE} if BENCHMARK in tables else set()
    for label in sorted((recorded | set(stated) - beside) - tables):
        raise UserError(f"scores/{label}.parquet is not there, and the run states numbers of {label}")
    for label in sorted(tables - recorded - {BENCHMARK}):
        raise UserError(f"evaluations/{label}.json is not there, so the protocol behind {label} is not known")
    return sorted(tables, key=lambda label: (label != BENCHMARK, label))


def _scored(directory: Path, label: str, manifest: Mapping[str, Any], stated: Mapping[str, Any]) -> Scored:
    """Raises UserError for the first thing that does not add up."""
    file = f"evaluations/{label}.json"
    path = directory / file
    nothing: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "benchmark": label}
    record = read_json(path) if path.exists() else nothing
    check_schema(record, file)
    benchmark = record.get("benchmark")
    if benchmark not in names():
        raise UserError(f"{file}: the benchmark {benchmark!r} is not known here")
    table = read_scores(directory / "scores" / f"{label}.parquet", benchmark)
    asked: dict[str, Any] = record.get("protocol") or {}
    told: dict[str, Any] = record.get("metrics") or {}
    try:
        protocol, metrics = remade(benchmark, asked, table)
    except (UserError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"scores/{label}.parquet: {' '.join(str(error).split())}") from None
    if asked:
        _check_protocol(file, settled(asked), protocol)
    parts = _by_part(stated.get(label, {}))
    wrong = [f"metrics.json: {label}{line}" for line in unlike(parts, metrics)]
    wrong += [f"{file}{line}" for line in unlike(told, metrics)]
    if wrong:
        raise UserError(wrong[0] + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))
    return Scored(label, benchmark, protocol, _rows(label, record, manifest, table), table, metrics)


def _check_beside(stated: Mapping[str, Any], usual: Scored) -> None:
    """Older runs state another protocol's numbers, taken from the same scores. Raises UserError for wrong ones."""
    if wrong := list(unlike(_by_part(stated), recompute(_BESIDE, {}, usual.table.assign(turns=0)))):
        raise UserError(f"metrics.json: {_BESIDE}{wrong[0]}")


def _by_part(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    return parts if all(isinstance(values, Mapping) for values in parts.values()) else {"": parts}


def _check_protocol(file: str, told: Mapping[str, Any], borne_out: Mapping[str, Any]) -> None:
    for key in sorted(set(told) | set(borne_out)):
        ours, theirs = (json.loads(json.dumps(protocol.get(key))) for protocol in (borne_out, told))
        if ours != theirs:
            raise UserError(f"{file}: the protocol's {key} is {_short(theirs)}, the scores are of {_short(ours)}")


def _rows(label: str, record: Mapping[str, Any], manifest: Mapping[str, Any], table: pd.DataFrame) -> str:
    """Digest of the rows the evaluation was of. Raises UserError where none is recorded, or two disagree."""
    data = record.get("data") or {}
    splits = [str(s) for s in pd.unique(table["split"]) if s != VALIDATION] if "split" in table else []
    of_run = manifest.get("test_sha256") if label == BENCHMARK else None
    by_split = data.get("sha256") if isinstance(data.get("sha256"), Mapping) else None
    if by_split is None and of_run and not data:
        by_split = {splits[0]: of_run} if len(splits) == 1 else {"": of_run}
    if by_split is not None:
        rows = {split: sha for split, sha in by_split.items() if split != VALIDATION and (split in splits or not split)}
        if of_run and len(splits) == 1 and rows.get(splits[0], of_run) != of_run:
            raise UserError(f"manifest.json names other test rows (test_sha256) than evaluations/{label}.json")
        _check_counts(label, data.get("rows"), table)
        if rows:
            return digest(rows)
    if told := {key: data[key] for key in _NAMES_ROWS if data.get(key)}:
        return digest(told)
    if shas := [source.get("sha256") for source in data.get("sources") or [] if isinstance(source, Mapping)]:
        return digest(shas)
    raise UserError(f"evaluations/{label}.json does not say which rows were judged (no digest under data)")


def _check_counts(label: str, told: Any, table: pd.DataFrame) -> None:
    counts = table["split"].value_counts()
    for split, rows in (told if isinstance(told, Mapping) else {}).items():
        if rows and counts.get(split, 0) != rows:
            raise UserError(f"scores/{label}.parquet holds {counts.get(split, 0)} of the {rows} pairs of {split}")


def check_schema(value: Mapping[str, Any], file: str) -> None:
    version = value.get("schema_version")
    if isinstance(version, bool) or not isinstance(version, int):
        raise UserError(f"{file} has no schema_version")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{file} is of schema {version}, newer than the {SCHEMA_VERSION} known here (update the package)"
        )


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path.name}: is not a JSON object")
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"

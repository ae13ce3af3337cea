"""The evaluations of a run or model, each taken afresh from its score table and compared with what is stated of it.

Numbers, protocol, counts and digests of an evaluation are stated in three files that anybody can edit. Each is made
again from the table of scores, and one that does not come out costs the whole run: who edits one number may have edited
others. Evidence that is missing costs it too. Stated intervals are neither checked nor used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.boards.score_tables import read_scores
from analysis.study.study import BENCHMARK
from benchmarks.pair_metrics import VALIDATION
from benchmarks.protocol import essential_protocol
from benchmarks.registry import names, remade
from mars.config import UserError
from mars.files import digest
from mars.record.facts import Facts, Measured, Parts
from mars.record.layout import MANIFEST, record_of, scores_of

_NAMES_ROWS = ("sha256", "pairs_sha256", "hub", "revision", "split", "fingerprint")  # keys of a record's data


class Scored(NamedTuple):
    """One evaluation of an entry. protocol: less what moves no number. rows: digest of the test rows."""

    label: str
    benchmark: str
    protocol: Mapping[str, Any]
    rows: str
    table: pd.DataFrame
    metrics: Parts


def measure(path: Path, label: str, record: Mapping[str, Any]) -> Measured | None:
    """An evaluation taken afresh from its score table; None of a benchmark that is not known.

    Raises UserError for a table that holds what it should not, or that no number can be taken from.
    """
    benchmark = record.get("benchmark")
    if not isinstance(benchmark, str) or benchmark not in names():
        return None
    table = read_scores(path, benchmark)
    try:
        return Measured(table, *remade(benchmark, record.get("protocol") or {}, table))
    except (UserError, ValueError, TypeError, KeyError) as error:
        raise UserError(" ".join(str(error).split())) from None


def evaluations(facts: Facts) -> tuple[Scored, ...]:
    """Every evaluation, the main one first. facts: with nothing wrong in them, by `measure`.

    Raises UserError for the first thing that is missing or does not add up.
    """
    return tuple(_scored(label, facts) for label in _labels(facts))


def _labels(facts: Facts) -> list[str]:
    """The evaluations that are there, whole. Raises UserError for numbers without scores, scores without a record."""
    if not facts.tables:
        raise UserError("scores/ holds no table (numbers without scores cannot be checked)")
    for label in sorted({*facts.records, *facts.metrics} - {*facts.tables}):
        raise UserError(f"{scores_of(label)} is not there, and the run states numbers of {label}")
    for label in sorted({*facts.tables} - {*facts.records}):
        raise UserError(f"{record_of(label)} is not there, so the protocol behind {label} is not known")
    return facts.tables


def _scored(label: str, facts: Facts) -> Scored:
    """Raises UserError for the first thing that does not add up."""
    record, measured = facts.records[label], facts.measured.get(label)
    benchmark = record.get("benchmark")
    if measured is None or measured.metrics is None:
        raise UserError(f"{record_of(label)}: the benchmark {benchmark!r} is not known here")
    if asked := record.get("protocol"):
        _check_protocol(record_of(label), essential_protocol(asked), measured.protocol)
    rows = _rows(label, record, facts.manifest, measured.table)
    return Scored(label, str(benchmark), measured.protocol, rows, measured.table, measured.metrics)


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
    if isinstance(by_split := data.get("sha256"), Mapping):
        rows = {split: sha for split, sha in by_split.items() if split in splits}
        if of_run and len(splits) == 1 and rows.get(splits[0], of_run) != of_run:
            raise UserError(f"{MANIFEST} names other test rows (test_sha256) than {record_of(label)}")
        _check_counts(label, data.get("rows"), table)
        if rows:
            return digest(rows)
    if told := {key: data[key] for key in _NAMES_ROWS if data.get(key)}:
        return digest(told)
    if shas := [source.get("sha256") for source in data.get("sources") or [] if isinstance(source, Mapping)]:
        return digest(shas)
    raise UserError(f"{record_of(label)} does not say which rows were judged (no digest under data)")


def _check_counts(label: str, told: Any, table: pd.DataFrame) -> None:
    counts = table["split"].value_counts()
    for split, rows in (told if isinstance(told, Mapping) else {}).items():
        if rows and counts.get(split, 0) != rows:
            raise UserError(f"{scores_of(label)} holds {counts.get(split, 0)} of the {rows} pairs of {split}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"

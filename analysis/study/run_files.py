"""One finished run as a report counts it, from its directory or from what W&B was told of it.

What a run cannot be counted without is a UserError: that costs the run, not the study. Everything else that is wrong
with it is a remark, and so is every number of metrics.json that its scores do not bear out; shown is then what the
scores give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pyarrow.compute import count_distinct

from analysis.study import naming
from analysis.study.study import BENCHMARK, Run
from analysis.study.wandb_runs import Logged
from benchmarks.pair_metrics import PAIRS, decided, recompute_splits, split_bits
from benchmarks.registry import names, recompute
from mars.config import UserError
from mars.record.facts import Facts, Measured, Parts, agree, check_manifest, shaping, unreadable
from mars.record.layout import MANIFEST, METRICS, ROUNDS, record_of, scores_of
from mars.record.run_directory import RunDirectory

_SHARES = ("accuracy", "auc", "length_controlled_accuracy", "gold_accuracy")
_EVIDENCE = (scores_of, record_of)
_SHOWN = 3  # remarks on one run's numbers
_INSTEAD = {
    ROUNDS: "; its rounds are not shown",
    METRICS: "; its numbers are taken from its scores, without intervals",
}


def from_directory(directory: Path, source: str) -> tuple[Run, list[str]]:
    """(the run, remarks). Raises UserError, without the directory's name, for one that cannot be counted."""
    place = RunDirectory(directory)
    if not place.finished:
        raise UserError("unfinished")
    facts, problems = place.read(measure)
    for problem in problems:
        if problem.fatal:
            raise UserError(str(problem))
    run = as_run(facts, source, directory)
    wrong = [str(problem) for problem in problems if problem.number]
    more = [f"{len(wrong) - _SHOWN} more of its numbers are not those of its scores"] if len(wrong) > _SHOWN else []
    remarks = [f"{problem}{_INSTEAD.get(problem.file, '')}" for problem in problems if not problem.number]
    remarks += [*wrong[:_SHOWN], *more, *_impossible(facts)]
    unusable = {problem.file for problem in problems} & {name(label) for label in facts.metrics for name in _EVIDENCE}
    metrics = {
        label: {part: _true(_found(facts, label).get(part, {}), values) for part, values in parts.items()}
        for label, parts in run.metrics.items()
        if label in facts.measured or not unusable & {name(label) for name in _EVIDENCE}
    }
    if BENCHMARK not in facts.metrics:
        metrics = {label: _found(facts, label) for label in facts.measured} | metrics
    return replace(run, metrics=metrics), [f"{run.name}: {remark}" for remark in remarks]


def as_run(facts: Facts, source: str, directory: Path) -> Run:
    """The run as its files have it, less the scores of ties. facts: of which nothing is fatally wrong."""
    main = facts.measured.get(BENCHMARK)
    return Run(
        facts.manifest["run_id"],
        source,
        directory,
        _without_ids(facts.manifest),
        naming.as_asked(naming.flat(shaping(facts.config)), facts.manifest.get("replicate")),
        facts.metrics,
        facts.rounds,
        facts.records,
        {split: decided(columns) for split, columns in main.table.items()} if main else {},
    )


def from_wandb(logged: Logged, source: str) -> Run:
    """Raises UserError for a run that cannot be counted: one that did not finish reported no manifest."""
    if logged.damage:
        raise UserError(logged.damage)
    if not logged.manifest:
        raise UserError("unfinished, or by a version that did not report its manifest to W&B")
    try:
        check_manifest(logged.manifest)
    except UserError as error:
        raise UserError(f"{MANIFEST}: {error}") from None
    settings = naming.flat(shaping({key: value for key, value in logged.config.items() if key != "_wandb"}))
    manifest = _without_ids(logged.manifest)
    settings = naming.as_asked(settings, manifest.get("replicate"))
    return Run(manifest["run_id"], source, None, manifest, settings, logged.metrics, logged.rounds)


def measure(path: Path, label: str, record: Mapping[str, Any]) -> Measured | None:
    """An evaluation taken afresh from its score table at `path`; None of a benchmark that is not known here.

    The pairs that every run has are measured whatever their record is worth: nothing of it is needed. Raises UserError
    for a table that cannot be read or measured.
    """
    benchmark = record.get("benchmark")
    if label != BENCHMARK and benchmark not in names():
        return None
    try:
        if label == BENCHMARK and benchmark in (None, BENCHMARK):
            columns = by_split(path)
            bits = split_bits(columns)
            with_bits = {split: decided(columns[split]) | {"bits": own} for split, own in bits.items()}
            return Measured(columns | with_bits, {}, recompute_splits(columns, bits))
        table: Any = by_split(path) if label == BENCHMARK else {}
        if benchmark not in names():
            return Measured(table, {}, None)
        protocol = record.get("protocol")
        found = recompute(str(benchmark), protocol if isinstance(protocol, Mapping) else {}, pd.read_parquet(path))
        return Measured(table, {}, found)
    except Unreadable:
        raise
    except (OSError, ValueError, TypeError, KeyError, UserError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise UserError(f"cannot be measured: {' '.join(str(error).split())}") from None


class Unreadable(UserError):
    """A table of pairs that nothing can be done with."""


def by_split(file: Path) -> dict[str, dict[str, Any]]:
    """{split: its columns}, test splits and `validation`: `id`, an index, and arrays [E] of the known of PAIRS.

    Raises Unreadable for a file that cannot be used.
    """
    try:
        with pq.ParquetFile(file, pre_buffer=False) as content:  # a third of the time pandas' own reader takes
            known = [name for name in PAIRS if name in content.schema_arrow.names]
            table = content.read(columns=["id", *known], use_threads=False)
        columns = {name: table[name].to_numpy() for name in known if name != "split"}
        if odd := [name for name in PAIRS[1:3] if name not in columns or columns[name].dtype.kind not in "fiu"]:
            raise ValueError(f"{', '.join(odd)}: no column of numbers")
        codes, splits = pd.factorize(table["split"].to_pandas())
        columns = {"id": pd.Index(table["id"].to_pandas()), **columns}
    except (OSError, ValueError, KeyError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise Unreadable(str(unreadable(error))) from None
    distinct = count_distinct(table["id"]).as_py() == len(table)  # over all splits, as a rule; soon told
    in_order = bool(np.all(codes[1:] >= codes[:-1]))  # one split after the other, as they are written
    found = {}
    for code, split in enumerate(splits):
        rows = slice(*np.searchsorted(codes, [code, code + 1])) if in_order else np.flatnonzero(codes == code)
        found[str(split)] = {name: values[rows] for name, values in columns.items()}
        own = found[str(split)]["id"]
        if not distinct and not own.is_unique:
            raise Unreadable(f'id "{own[own.duplicated()][0]}" repeats in split {split}')
    return found


def _found(facts: Facts, label: str) -> Parts:
    measured = facts.measured.get(label)
    return (measured.metrics if measured else None) or {}


def _impossible(facts: Facts) -> list[str]:
    """Numbers without scores to take them from that cannot be what they are called."""
    return [
        f"{label}/{part}/{metric}: {value!r} is no share, left out"
        for label, parts in facts.metrics.items()
        if not _found(facts, label)
        for part, values in parts.items()
        for metric, value in values.items()
        if metric in _SHARES and not _share(value)
    ]


def _true(found: Mapping[str, float], stated: Mapping[str, Any]) -> dict[str, Any]:
    """`stated` as the scores have it.

    A number that was put right loses its interval, which nobody vouches for.
    """
    wrong = {key for key, value in found.items() if key in stated and not agree(stated[key], value)}
    stated = {key: value for key, value in stated.items() if key not in _SHARES or key in wrong or _share(value)}
    ends = {f"{key}{end}" for key in wrong for end in ("_lo", "_hi", "_half_width")}
    return {key: found[key] if key in wrong else value for key, value in stated.items() if key not in ends}


def _share(value: Any) -> bool:
    return not isinstance(value, int | float) or 0 <= value <= 1 or value != value  # NaN and text are told elsewhere


def _without_ids(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if not key.endswith("_ids")}

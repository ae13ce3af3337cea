"""Do a run's scores bear out the numbers it states? Every metric is taken afresh from scores/*.parquet and compared.

metrics.json is a plain file: edited, or left from another version of the scores, it looks like any other. The score
tables are the evidence, so what they do not give is named, with both values. Intervals are no part of it: nothing that
ranks uses the stated ones.

    from analysis import load
    from analysis.study.checks import discrepancies
    [line for run in load("outputs/quick").members.values() for line in discrepancies(run)]
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd

from analysis.study.study import BENCHMARK, Run
from benchmarks.choices import names, recompute
from benchmarks.pair_metrics import recompute_splits
from benchmarks.protocol import Parts, is_interval
from mars.config import UserError

TOLERANCE = 1e-6  # relative and absolute: the same scores in another order sum up a little differently


def recomputed(run: Run) -> dict[str, Parts]:
    """{label: {part: {metric: value}}} of the labels that can be: whose table is there, and whose benchmark is known.

    A run without a directory has none. Raises UserError for a table or record that cannot be used.
    """
    return {label: _afresh(run, label) for label in records(run)}


def measure(run: Run) -> None:
    """Raises UserError where no number can be taken from the run's own scores."""
    if BENCHMARK in records(run):
        _afresh(run, BENCHMARK)


def measurable(run: Run) -> dict[str, Parts]:
    """As `recomputed`, less the labels whose table or record cannot be used."""
    found: dict[str, Parts] = {}
    for label in records(run):
        with suppress(UserError):
            found[label] = _afresh(run, label)
    return found


def discrepancies(run: Run) -> list[str]:
    """One line for each stated metric that the run's scores do not bear out; a table that cannot be measured is one.

    Stated is what metrics.json says and, where it says otherwise, evaluations/LABEL.json. Labels without a score table
    are not looked at: missing evidence is not evidence against.
    """
    lines: list[str] = []
    for label, record in records(run).items():
        if not record:
            lines.append(f"{run.name}: {_unread(label)}")
            continue
        try:
            found = _afresh(run, label)
        except UserError as error:
            lines.append(f"{run.name}: {error}")
            continue
        stated = run.metrics.get(label, {})
        lines += [f"{run.name}: {label}{line}" for line in unlike(stated, found)]
        apart = {part: values for part, values in _parts(record).items() if values != stated.get(part)}
        lines += [f"{run.name}: evaluations/{label}.json{line}" for line in unlike(apart, found)]
    return list(dict.fromkeys(lines))


@functools.lru_cache(maxsize=32)
def records(run: Run) -> dict[str, dict[str, Any]]:
    """{label: what its evaluation recorded} of the labels that can be recomputed.

    A run of before there were records has `in_distribution`, of which nothing else needs to be known. Empty is a
    record that cannot be read.
    """
    if run.directory is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for label in sorted(path.stem for path in run.directory.glob("scores/*.parquet")):
        if run.file(f"evaluations/{label}.json"):
            found[label] = run.record(label)
        elif label == BENCHMARK:
            found[label] = {"benchmark": BENCHMARK}
    return {label: record for label, record in found.items() if not record or record.get("benchmark") in names()}


def agree(one: Any, other: float) -> bool:
    """Whether a stated value is the recomputed one, but for the order of summation. NaN and null are one."""
    if one is None or isinstance(one, bool) or not isinstance(one, int | float):
        return one is None and math.isnan(other)
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(one) and math.isnan(other))


def unlike(stated: Mapping[str, Any], found: Parts) -> Iterator[str]:
    """`/part/metric: …` of each stated metric that was not found again, intervals aside.

    One that is stated as null, not defined, may be absent.
    """
    for part, values in stated.items():
        if not isinstance(values, Mapping):
            yield f"/{part}: holds {values!r} where metrics belong"
            continue
        for metric, value in values.items():
            if is_interval(metric, values) or (value is None and metric not in found.get(part, {})):
                continue
            if metric not in found.get(part, {}):
                yield f"/{part}/{metric}: stated {_shown(value)}, not to be had from the scores"
            elif not agree(value, found[part][metric]):
                yield f"/{part}/{metric}: stated {_shown(value)}, the scores give {_shown(found[part][metric])}"


@functools.lru_cache(maxsize=32)  # asked for twice in a row: what is wrong, and what is right
def _afresh(run: Run, label: str) -> Parts:
    """Raises UserError for a table that cannot be read or measured."""
    record = records(run)[label]
    file = f"scores/{label}.parquet"
    path = run.file(file)
    if path is None:
        raise UserError(f"{file} is not there")
    try:
        if label == BENCHMARK and record.get("benchmark", BENCHMARK) == BENCHMARK:
            return recompute_splits(run.scores)  # whatever its record is worth: nothing of it is needed
        if not record:
            raise UserError(_unread(label))
        protocol = record.get("protocol")
        table = pd.read_parquet(path)
        return recompute(record["benchmark"], protocol if isinstance(protocol, Mapping) else {}, table)
    except (OSError, ValueError, TypeError, KeyError, UserError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise UserError(f"{file}: cannot be measured: {' '.join(str(error).split())}") from None


def _unread(label: str) -> str:
    return f"evaluations/{label}.json: cannot be read, or is not a JSON object"


def _parts(record: Mapping[str, Any]) -> Mapping[str, Any]:
    parts = record.get("metrics")
    return parts if isinstance(parts, Mapping) else {}


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)

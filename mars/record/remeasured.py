"""A stated number is held to the scores that are beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mars.config import UserError
from mars.record.facts import Facts, Measured, Problem, unlike
from mars.record.layout import MAIN, METRICS, record_of, scores_of

# Takes an evaluation afresh: its table's path, label and record to what is found; None where nothing is known of it.
# Raises UserError where no number can be taken from the table.
Measure = Callable[[Path, str, Mapping[str, Any]], Measured | None]


def remeasured(facts: Facts, measure: Measure, table: Path, label: str) -> Iterator[Problem]:
    """Take one evaluation afresh into `facts`; yields what is wrong with its table and with what is stated of it."""
    record = facts.records.get(label, {})
    try:
        found = measure(table, label, record)
    except UserError as error:
        yield Problem(scores_of(label), str(error), label == MAIN, True)
        return
    if found is None:
        return
    facts.measured[label] = found
    if found.metrics is None:
        return
    stated = facts.metrics.get(label, {})
    for line in unlike(stated, found.metrics):
        yield Problem(METRICS, f"{label}/{line}", number=True)
    told = record.get("metrics", {})
    if isinstance(told, Mapping):  # what metrics.json says too was held to the scores above
        told = {part: values for part, values in told.items() if values != stated.get(part)}
    for line in unlike(told, found.metrics):
        yield Problem(record_of(label), line, number=True)

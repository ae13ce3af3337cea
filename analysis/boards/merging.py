"""The entries of many people put together: each once, only with others of the same examples, seeds of one arm as one.

Two who send the same run, or name the same test rows, vouch for each other as far as they agree, and where they do not,
at least one is wrong: a run that is claimed twice and differs counts for neither, and examples are what most studies
and submissions say they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.boards.entries import Entry, Refused
from analysis.boards.evaluations import Scored
from analysis.boards.score_tables import (
    difference,
    example_columns,
    fingerprint,
    score_columns,
    without_validation,
)
from analysis.study.study import Run, Study
from analysis.study.tables import assemble
from mars.config import UserError
from mars.files import digest
from mars.record.layout import scores_of

_SAME = 1e-6  # scores of one run, relative and absolute


class Claim(NamedTuple):
    """An entry's part in a board."""

    entry: Entry
    scored: Scored

    @property
    def place(self) -> str:
        return f"{self.entry.by}/{self.entry.name}"


def once(entries: Iterable[Entry]) -> tuple[list[Entry], list[Refused], list[str]]:
    """Each entry once: of alike ones the first, with the evaluations of all; of unlike ones that claim one id none.

    With it those that are there more than once and alike, as `id (whose)`.
    """
    entries = list(entries)
    by_id: dict[str, list[Entry]] = {}
    for entry in entries:
        by_id.setdefault(entry.id, []).append(entry)
    kept: list[Entry] = []
    refused: list[Refused] = []
    repeated: list[str] = []
    for same in by_id.values():
        places = ", ".join(f"{entry.by}/{entry.name}" for entry in same)
        unlike = next((why for entry in same[1:] if (why := _differ(same[0], entry))), "")
        if unlike:
            reason = f"{len(same)} entries claim the id {same[0].title} and differ, {unlike} ({places})"
            refused += [Refused(entry.by, entry.name, reason) for entry in same]
            continue
        scored = {question(one): one for entry in reversed(same) for one in reversed(entry.scored)}
        kept.append(replace(same[0], scored=tuple(reversed(scored.values()))))
        if len(same) > 1:
            repeated.append(f"{same[0].title} ({', '.join(dict.fromkeys(entry.by for entry in same))})")
    return kept, refused, repeated


def _differ(one: Entry, other: Entry) -> str:
    """In what two entries of one id differ; empty where in nothing that both have."""
    for key in ("seed", "steps", "start", "base_sha256", "test_sha256"):
        if one.manifest.get(key) != other.manifest.get(key):
            return f"in {key} of manifest.json"
    theirs = {question(scored): scored for scored in other.scored}
    for scored in one.scored:
        twin = theirs.get(question(scored))
        if twin is None:
            continue
        if why := difference(twin.table, scored.table):
            return f"{scores_of(scored.label)} of the second {why}"
        if apart := _scores_apart(scored.table, twin.table):
            return f"in the scores of {apart} rows of {scored.label}"
    return ""


def _scores_apart(one: pd.DataFrame, other: pd.DataFrame) -> int:
    """Rows whose scores are not the same, of two tables of the same examples."""
    names = score_columns(one)
    first, second = (
        without_validation(t).sort_values(example_columns(t), kind="stable")[names].to_numpy(float)
        for t in (one, other)
    )
    return int((~np.isclose(first, second, rtol=_SAME, atol=_SAME)).any(axis=1).sum())


Question = tuple[str, str, str]  # benchmark, digest of the test rows, digest of the protocol


def question(scored: Scored) -> Question:
    """What two evaluations must share to stand on one board. A temperature moves no number that is shown there."""
    protocol = {key: value for key, value in scored.protocol.items() if key != "temperature"}
    return scored.benchmark, scored.rows, digest(protocol)


def by_question(entries: Sequence[Entry]) -> dict[Question, list[Claim]]:
    """The entries that were judged so, each with the first evaluation that is."""
    found: dict[Question, dict[str, Claim]] = {}
    for entry in entries:
        for scored in entry.scored:
            found.setdefault(question(scored), {}).setdefault(entry.id, Claim(entry, scored))
    return {asked: list(claims.values()) for asked, claims in found.items()}


def unlike_rows(claims: Sequence[Claim]) -> list[tuple[Entry, str]]:
    """Entries whose tables are not of the examples that the others of one digest are of, and in what they differ.

    What most studies and submissions hold is taken for true, then what most runs hold; without a most, none is.
    """
    prints = [fingerprint(claim.scored.table) for claim in claims]
    if len(set(prints)) == 1:
        return []
    sources = Counter(
        value for _, value in {(claim.entry.by, value) for claim, value in zip(claims, prints, strict=True)}
    )
    weight = {value: (sources[value], prints.count(value)) for value in sources}
    leading = [value for value in weight if weight[value] == max(weight.values())]
    true = leading[0] if len(leading) == 1 else None
    refused = []
    for claim, value in zip(claims, prints, strict=True):
        if value == true:
            continue
        other = claims[next(i for i, p in enumerate(prints) if (p == true if true else p != value))]
        why = difference(claim.scored.table, other.scored.table)
        reason = f"{scores_of(claim.scored.label)} {why}, unlike {other.place}, which names the same test rows"
        refused.append((claim.entry, reason))
    return refused


def same_scores(claims: Sequence[Claim]) -> list[str]:
    """Runs or models of several ids that score every example alike, which two that were trained apart hardly do."""
    found: dict[bytes, list[str]] = {}
    for claim in claims:
        table = without_validation(claim.scored.table)
        table = table.sort_values(example_columns(table), kind="stable")
        scores = table[score_columns(table)].to_numpy(float)
        found.setdefault(scores.tobytes(), []).append(claim.place)
    return [", ".join(places) for places in found.values() if len(places) > 1]


def as_runs(entries: Iterable[Entry]) -> dict[str, Run]:
    """{id: the run as a report has it} of those that are runs."""
    return {entry.id: replace(entry.run, name=entry.id) for entry in entries if entry.run}


def as_studies(runs: Sequence[Run]) -> tuple[list[tuple[Study, str]], list[Refused]]:
    """The runs as one study; where it cannot tell its arms apart, each source's as one, with why they are not one."""
    if not runs:
        return [], []
    try:
        return [(assemble("", list(runs), [], []), "")], []
    except UserError as error:
        why = str(error).removeprefix("study: ").partition(" (")[0]
    studies: list[tuple[Study, str]] = []
    refused = []
    for by in dict.fromkeys(run.source for run in runs):
        own = [run for run in runs if run.source == by]
        try:
            studies.append((assemble(by, own, [], []), why))
        except UserError as error:
            reason = str(error).removeprefix("study: ")
            refused += [Refused(by, run.directory.name if run.directory else run.name, reason) for run in own]
    return studies, refused

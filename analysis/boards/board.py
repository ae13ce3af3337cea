"""Entries of many people to boards: one for each protocol and set of test rows, best first.

Two numbers stand in one column only if they answer one question: the same protocol on the same rows, which the digests
must say and the score tables show, id by id. On a board, arms are means over training seeds, whoever ran these; a model
from elsewhere is one run, its interval over examples, and the two are told apart. Arms of one dataset × backbone group
that differ in more than their strategy are shown without a rank (`analysis.inference.comparability`): a rank is read as
a claim about the strategy. Ranks follow the estimate; whether a difference is more than chance is for the report of a
study to say, which has both arms' seeds.

    boards, refused, remarks = make(entries)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.boards.entries import Entry, Refused
from analysis.boards.evaluations import Scored
from analysis.boards.merging import Claim, Question, as_runs, as_studies, by_question, once, same_scores, unlike_rows
from analysis.exhibits.table import Column, Table
from analysis.inference.comparability import confounds
from analysis.inference.stats import mean_interval
from analysis.study.naming import first_few
from analysis.study.study import BENCHMARK, Run, Study
from benchmarks.protocol import Measure
from benchmarks.registry import find, interval


@dataclass(frozen=True)
class Board:
    """One table. `table.frame` has a row per entry; `runs` a row per run behind them; `notes` what to know."""

    table: Table
    runs: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def ranked(self) -> bool:
        return bool(self.table.frame["rank"].notna().any())


def make(entries: Sequence[Entry]) -> tuple[list[Board], list[Refused], list[str]]:
    """The boards, in-distribution ones first; the entries that cannot stand beside the others; remarks on all."""
    kept, refused, repeated = once(sorted(entries, key=lambda entry: (entry.by, entry.name, str(entry.directory))))
    apart = {
        entry.directory: (entry, why) for claims in by_question(kept).values() for entry, why in unlike_rows(claims)
    }
    refused += [Refused(entry.by, entry.name, why) for entry, why in apart.values()]
    kept = [entry for entry in kept if entry.directory not in apart]
    runs = as_runs(kept)
    boards = []
    for key, claims in sorted(by_question(kept).items(), key=lambda item: (item[0][0] != BENCHMARK, item[0])):
        usable = [claim for claim in claims if not claim.entry.trained or claim.entry.id in runs]
        board, wrong = _board(key, usable, runs)
        boards += [board] if board else []
        refused += wrong
    remarks = [f"there more than once, alike, and counted once: {first_few(repeated)}"] if repeated else []
    twins = dict.fromkeys(found for claims in by_question(kept).values() for found in same_scores(claims))
    remarks += [f"of different names and with the same score on every example: {found}" for found in twins]
    return _titled(boards), list(dict.fromkeys(refused)), remarks


def _board(key: Question, claims: Sequence[Claim], runs: Mapping[str, Run]) -> tuple[Board | None, list[Refused]]:
    of_runs = {claim.entry.id: claim for claim in claims if claim.entry.trained}
    models = [claim for claim in claims if not claim.entry.trained]
    studies, refused = as_studies([runs[run] for run in of_runs])
    if not studies and not models:
        return None, refused
    measures = _measures(claims)
    found = [row for study, why in studies for row in _arms(study, why, of_runs, measures)]
    found += [(_row(_model_name(claim, models), "model", [claim], measures), [claim], []) for claim in models]
    behind = [line for row, members, _ in found for line in _behind(row, members, measures[0])]
    table = _table(key, claims, measures, _ranked(pd.DataFrame([row for row, _, _ in found])))
    notes = tuple(dict.fromkeys(note for _, _, told in found for note in told))
    return Board(table, pd.DataFrame(behind).assign(board=table.name), notes), refused


def _arms(
    study: Study, why: str, claims: Mapping[str, Claim], measures: Sequence[Measure]
) -> Iterator[tuple[dict[str, Any], list[Claim], list[str]]]:
    """Each arm's row, the runs behind it and what to know of its group. why: what forbids ranking all of the study."""
    for title, group in study.groups():
        confounded = confounds(group)
        reasons = [c.text for c in confounded if c.blocks] + ([why] if why else [])
        notes = [f"{title}: not ranked: {reason}" for reason in reasons]
        notes += [f"{title}: {c.text}" for c in confounded if not c.blocks]
        for arm in group.arms:
            members = [claims[run.name] for run in group.of(arm)]
            plain = str(members[0].entry.manifest["dataset"])  # less its settings, where several are here
            told = str(group.runs["dataset"].iloc[0]).removeprefix(plain).strip()
            name = f"{arm} ({told})" if told else arm
            yield _row(name, "arm", members, measures) | {"not_ranked": "; ".join(reasons)}, members, notes


def _measures(claims: Sequence[Claim]) -> list[Measure]:
    """The numbers of a board, the headline first; every further test split's accuracy behind them."""
    first = claims[0].scored
    main = next(iter(first.metrics), "")
    declared = find(first.benchmark).measures
    measures = [m._replace(part=m.part or main) for m in declared]
    if not declared[0].part:  # of the main split
        measures += [measures[0]._replace(part=part, head=f"on {part}") for part in first.metrics if part != main]
    return [m for m in measures if not m.optional or m.metric in first.metrics.get(m.part, {})]


def _row(name: str, kind: str, claims: Sequence[Claim], measures: Sequence[Measure]) -> dict[str, Any]:
    """An entry: each measure's mean over its runs, the first with its interval."""
    first, entries = claims[0], [claim.entry for claim in claims]
    about = first.entry.manifest if kind == "arm" else first.entry.manifest["model"]
    row: dict[str, Any] = {
        "rank": pd.NA,
        "not_ranked": "",
        "entry": name,
        "kind": kind,
        "dataset": about.get("dataset", ""),
        "backbone": about.get("backbone") or about.get("architecture") or "",
        "by": ", ".join(sorted({entry.by for entry in entries})),
        "metric": f"{measures[0].part}/{measures[0].metric}",
    }
    for i, measure in enumerate(measures):
        values = np.array([_value(claim.scored, measure) for claim in claims])
        name = "value" if i == 0 else f"{measure.part}/{measure.metric}"
        row[name] = float(values.mean())
        if i == 0:
            row |= dict(zip(("value_lo", "value_hi", "interval"), _interval(claims, measure, values), strict=True))
    hashed = all(entry.hashed for entry in entries)
    return row | {
        "seeds": len(claims) if kind == "arm" else pd.NA,
        "examples": int(first.scored.metrics.get(measures[0].part, {}).get("n", 0)),
        "verified": "scores, hashes" if hashed else "scores",
    }


def _value(scored: Scored, measure: Measure) -> float:
    return scored.metrics.get(measure.part, {}).get(measure.metric, math.nan)


def _interval(claims: Sequence[Claim], measure: Measure, values: np.ndarray) -> tuple[float, float, str]:
    """The ends of the 95 % interval, and what it is over."""
    if len(values) > 1:
        _, lo, hi = mean_interval(values)
        ends = (max(lo, 0.0), min(hi, 1.0)) if measure.share else (lo, hi)  # a t interval may leave what is possible
        return *ends, "seeds"
    scored = claims[0].scored
    lo, hi = interval(scored.benchmark, scored.protocol, scored.table, measure.part, measure.metric)
    return lo, hi, "" if math.isnan(lo) else "examples"


def _behind(row: dict[str, Any], claims: Sequence[Claim], headline: Measure) -> list[dict[str, Any]]:
    return [
        {
            "entry": row["entry"],
            "run": claim.entry.id if claim.entry.trained else claim.entry.name,
            "by": claim.entry.by,
            "seed": claim.entry.manifest.get("seed", pd.NA),
            "value": _value(claim.scored, headline),
            "commit": claim.entry.commit[:8],
        }
        for claim in claims
    ]


def _model_name(claim: Claim, claims: Sequence[Claim]) -> str:
    """The model's name, with what tells it apart where several have it."""
    names = [other.entry.title for other in claims if not other.entry.trained]
    name = claim.entry.title
    return name if names.count(name) == 1 else f"{name} #{claim.entry.id[:8]}"


def _ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Ranked entries best first, then the others in the study's order."""
    ranks = (frame["not_ranked"] == "") & frame["value"].notna()
    frame["rank"] = frame["value"].where(ranks).rank(method="min", ascending=False).astype("Int64")
    frame["seeds"] = frame["seeds"].astype("Int64")
    return frame.sort_values("rank", kind="stable", na_position="last", ignore_index=True)


def _table(key: Question, claims: Sequence[Claim], measures: Sequence[Measure], frame: pd.DataFrame) -> Table:
    benchmark, rows, protocol = key
    scored, declared = claims[0].scored, find(benchmark)
    datasets = {str(claim.entry.manifest["dataset"]) for claim in claims if claim.entry.trained}
    about = f": {', '.join(sorted(datasets))}" if declared.needs_dataset and datasets else ""
    headline, *others = measures
    columns = [
        Column("rank", "#", "d"),
        Column("entry", "entry"),
        Column("backbone", "backbone"),
        Column("by", "by"),
        _column(headline, "value"),
        Column("interval", "interval over"),
        *(_column(measure) for measure in others),
        Column("seeds", "seeds", "d"),
        Column("examples", "examples", "d"),
        Column("verified", "recomputed from"),
    ]
    told = [f"{k} {v}" for k, v in scored.protocol.items() if k in ("partial", "split", "ties", "weights_of", "draws")]
    caption = (
        f"{', '.join([headline.part, *told])}; test rows {rows[:8]}, protocol {protocol[:8]}. An arm is the mean over "
        "its training seeds with a 95 % t interval; a single run has one over examples (bootstrap), which leaves out "
        "what another seed would change. Ranks follow the estimate: where intervals overlap, the order may be chance."
    )
    name = f"{benchmark}-{rows[:8]}-{protocol[:8]}"
    return Table(name, f"{declared.title}{about}", caption, frame.assign(board=name), tuple(columns), by=())


def _titled(boards: Sequence[Board]) -> list[Board]:
    """The boards, those of one title told apart by their digests."""
    titles = Counter(board.table.title for board in boards)
    return [
        replace(board, table=replace(board.table, title=f"{board.table.title} ({board.table.name.partition('-')[2]})"))
        if titles[board.table.title] > 1
        else board
        for board in boards
    ]


def _column(measure: Measure, headline: str = "") -> Column:
    """headline: the key of the number that a board ranks by, which has its interval."""
    key = headline or f"{measure.part}/{measure.metric}"
    if not measure.share:
        return Column(key, measure.head, ".3f", interval=bool(headline))
    return Column(key, f"{measure.head}, %" if headline else measure.head, ".1f", 100, interval=bool(headline))

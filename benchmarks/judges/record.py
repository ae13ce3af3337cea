"""A judgement: asked for, carried out, written; or read where it was carried out before.

OUT/LABEL/ holds one judge's: `verdicts.parquet`, every showing; `annotations.json`, the same as AlpacaEval's tool reads
it; `judgement.json`, the record, written last. OUT/judgement.md has all judges of these replies with the controls and
how far they agree, and OUT/ours.json and theirs.json the replies as AlpacaEval's model_outputs.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.judges import findings
from benchmarks.judges.findings import Row, SameTwice
from benchmarks.judges.generations import (
    Comparison,
    Generation,
    Generations,
    instruction,
    pair_up,
    read_generations,
    write_model_outputs,
)
from benchmarks.judges.judge import Judge, made
from benchmarks.judges.settings import JudgementConfig
from benchmarks.judges.verdicts import RECORD, VERDICTS, showings, verdicts
from benchmarks.judges.winrate import Units, agreement, measure
from mars import choices, files
from mars.config import ConfigError, UserError
from mars.files import as_json, digest, write_json, write_parquet, write_text
from mars.process import devices
from mars.progress import counted
from mars.record.facts import SCHEMA_VERSION
from mars.record.manifest import environment

log = logging.getLogger("benchmarks.judge")

ANNOTATIONS, SUMMARY = "annotations.json", "judgement.md"


@dataclass(frozen=True)
class Replies:
    """What is to be judged: the comparisons of every replicate, the files they are from, and how they were paired."""

    comparisons: Sequence[Comparison]
    files: Sequence[tuple[Generations, Generations]]
    counts: Mapping[str, int]

    @property
    def names(self) -> tuple[str, str]:
        """Of the two policies; told apart where both are called the same."""
        ours, theirs = (self.files[0][side].name for side in (0, 1))
        return (ours, theirs) if ours != theirs else ("ours", "theirs")

    @property
    def digest(self) -> str:
        """sha256 of prompts and replies, whatever their files are called."""
        return digest([[c.replicate, c.prompt_id, c.occurrence, c.ours, c.theirs, c.id] for c in self.comparisons])


def carry_out(settings: JudgementConfig) -> dict[str, Any]:
    """The record, or with dry_run what it would take. Raises UserError; nothing is half-written then."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    replies = read(settings)
    judge = made(settings.judge, Path(settings.cache).expanduser(), devices.device(settings.device))
    label = settings.label or str(settings.judge["name"])
    out = Path(settings.out) if settings.out else _default(replies)
    question = digest([replies.digest, judge.identity, settings.same_twice])
    if not settings.force and (known := _answered(out / label, question)):
        return known
    shown = [*showings(replies.comparisons), *findings.repeated(replies.comparisons, settings.same_twice)]
    plan = {"showings": len(shown), **judge.plan(shown)}
    if settings.dry_run:
        return {"dry_run": True, "counts": replies.counts, "plan": plan, "judge": judge.identity}
    if plan["calls"]:
        cost = "unknown" if plan["most_cost"] is None else f"{plan['most_cost']:.2f}"
        calls = counted(round(plan["calls"]), "call")
        log.info("%s, about %d prompt tokens, cost at most %s", calls, plan["prompt_tokens"], cost)
    _check_writable(out / label)
    began = time.perf_counter()
    table = verdicts(judge, replies.comparisons)
    same = findings.same_twice(judge, replies.comparisons, settings.same_twice)
    record = _record(replies, judge, table, same)
    record |= {"label": label, "question": question, "seconds": time.perf_counter() - began, "plan": plan}
    _write(out, label, replies, table, record)
    log.info("%s", out / SUMMARY)
    return record


def read(settings: JudgementConfig) -> Replies:
    """The files, paired. Raises DataError."""
    ours, theirs = settings.pairs()
    theirs = theirs * len(ours) if len(theirs) == 1 else theirs
    files, comparisons = [], []
    counts: dict[str, int] = {}
    for replicate, names in enumerate(zip(ours, theirs, strict=True)):
        one, other = (read_generations(Path(name).expanduser()) for name in names)
        paired = pair_up(one, other, settings.missing, replicate)
        files.append((one, other))
        comparisons += paired.comparisons
        counts = {name: counts.get(name, 0) + n for name, n in paired.counts.items()}
    if settings.dataset:
        comparisons = with_ids(comparisons, settings.dataset)
    counts["replicates"] = len(files)
    counts["prompts"] = len({one.prompt_id for one in comparisons})
    return Replies(comparisons, files, counts)


def with_ids(comparisons: Sequence[Comparison], dataset: Mapping[str, Any]) -> list[Comparison]:
    """Those without an id get that of the pair with their prompt in a split of `dataset`, where it is a planted one.

    Test splits are searched first. A prompt that is in no split stays without an id. Raises UserError as loading does.
    """
    open_ones = {one.prompt for one in comparisons if not one.id}
    if not open_ones or dataset.get("name") != "planted":
        return list(comparisons)
    known = choices.load(dataset)
    ids: dict[Any, str] = {}
    for pair in itertools.chain(*known.tests.values(), known.validation, known.base):
        if len(ids) == len(open_ones):
            break
        if pair.prompt in open_ones:
            ids.setdefault(pair.prompt, pair.id)
    return [replace(one, id=one.id or ids.get(one.prompt, "")) for one in comparisons]


def _record(replies: Replies, judge: Judge, table: pd.DataFrame, same: SameTwice | None) -> dict[str, Any]:
    units = Units.of(table)
    found, beside = measure(units), findings.controls(replies.comparisons, units)
    with_length = next(row.with_judge for row in beside if row.name == "length")
    useless = findings.flag(found)
    ours, theirs = replies.names
    asked = table[table["said"].notna()]
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": findings.verdict(found, useless, ours, theirs),
        "useless": useless or None,
        "remarks": findings.remarks(found, findings.unread(table), with_length),
        "ours": {"name": ours, "files": [one.identity for one, _ in replies.files]},
        "theirs": {"name": theirs, "files": [other.identity for _, other in replies.files]},
        "replies": replies.digest,
        "counts": replies.counts,
        "judge": judge.identity,
        "models": sorted(set(asked["model"]) - {""}),
        "wording": judge.wording,
        "dates": [min(dated), max(dated)] if (dated := sorted(set(asked["date"]) - {""})) else [],
        "findings": asdict(found),
        "unread": findings.unread(table),
        "same_twice": asdict(same) if same else None,
        "controls": {row.name: {"findings": asdict(row.findings), "flag": row.flag,
                                "agreement": asdict(row.with_judge) if row.with_judge else None} for row in beside},
        "usage": dict(judge.usage),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
    }  # fmt: skip


def _write(out: Path, label: str, replies: Replies, table: pd.DataFrame, record: Mapping[str, Any]) -> None:
    for side, name in enumerate(("ours.json", "theirs.json")):
        rows = [Generation(c.prompt, (c.ours, c.theirs)[side], c.id, c.dataset) for c in replies.comparisons]
        write_model_outputs(out / name, replies.names[side], rows)
    (out / label / RECORD).unlink(missing_ok=True)  # of a judgement that this one replaces
    write_parquet(out / label / VERDICTS, table)
    write_json(out / label / ANNOTATIONS, of_alpaca_eval(replies, table, label))
    write_json(out / label / RECORD, record)
    write_text(out / SUMMARY, summary(out, replies))


def of_alpaca_eval(replies: Replies, table: pd.DataFrame, annotator: str) -> list[dict[str, Any]]:
    """A row a pair, as in annotations of AlpacaEval's tool: output_1 is theirs, its reference, and output_2 is ours.

    preference: 1 where theirs is preferred, 2 ours, 1.5 a tie, between them where the orders differ; null where a
    verdict could not be read, which that tool leaves out too.
    """
    ours, theirs = replies.names
    return [
        {
            "dataset": one.dataset,
            "instruction": instruction(one.prompt),
            "output_1": one.theirs,
            "generator_1": theirs,
            "output_2": one.ours,
            "generator_2": ours,
            "annotator": annotator,
            "preference": 1 + outcome,  # NaN becomes null
        }
        for one, outcome in zip(replies.comparisons, Units.of(table).outcome.tolist(), strict=True)
    ]


def summary(out: Path, replies: Replies) -> str:
    """OUT/judgement.md: every judge of these replies that is finished, the controls, and agreement between judges."""
    ours, theirs = replies.names
    known = _finished(out, replies.digest)
    rows, units, same = [], {}, {}
    for name, (record, table) in known.items():
        units[name] = Units.of(table)
        rows.append(Row(name, measure(units[name]), record["useless"] or ""))
        if record["same_twice"]:
            same[name] = SameTwice(**record["same_twice"])
    first = next((name for name, (record, _) in known.items() if not record["useless"]), next(iter(units)))
    said = [f"- `{name}`: {' '.join([record['verdict'], *record['remarks']])}" for name, (record, _) in known.items()]
    beside = findings.controls(replies.comparisons, units[first])
    parts = [
        f"# {ours} against {theirs}",
        "\n".join(said),
        findings.table(rows, beside, same),
        _explained(replies, first),
    ]
    if len(units) > 1:
        parts += ["## Agreement between judges", _agreements(units)]
    return "\n\n".join(parts) + "\n"


def _explained(replies: Replies, judge: str) -> str:
    counts, several = replies.counts, replies.counts["replicates"] > 1
    dropped = counts["missing_in_ours"] + counts["missing_in_theirs"]
    of_replicates = f", {counts['replicates']} replicates" if several else ""
    of_what = "prompts and replicates" if several else "prompts"
    pairs, prompts = counted(counts["comparisons"], "pair"), counted(counts["prompts"], "prompt")
    return (
        f"{pairs} of replies to {prompts}{of_replicates}; each pair is shown in both orders and is one unit. Without a "
        f"judge: {counted(counts['identical'], 'pair')} of identical replies, a tie, and {counts['empty']} with an "
        f"empty one, which loses. Left out for want of a counterpart: {dropped} of the replies.\n\n"
        "Win rate: of ours, a tie counts ½. Position bias: share of units with the same position preferred in both "
        "orders. Consistency: 1 if what is preferred follows the replies, 0 for a coin and for a judge that looks at "
        f"the position alone. Intervals: 95 %, for new {of_what}. κ of the controls: with `{judge}`."
    )


def _agreements(units: Mapping[str, Units]) -> str:
    names = list(units)
    lines = ["| | | same verdict | κ |", "|---|---|---|---|"]
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            found = agreement(units[one], units[other])
            kappa = findings.number(found.kappa)
            lines.append(f"| {one} | {other} | {findings.percent(found.raw)} | {kappa} |")
    return "\n".join(lines)


def _finished(out: Path, replies: str) -> dict[str, tuple[dict[str, Any], pd.DataFrame]]:
    """{label: (record, verdicts)} of the judgements of these replies, by label."""
    found = {}
    for path in sorted(out.glob(f"*/{RECORD}")):
        try:
            record = files.read_json(path)
            if record.get("replies") == replies:
                found[path.parent.name] = record, files.read_parquet(path.with_name(VERDICTS))
        except UserError as error:
            log.warning("%s; this judgement is left out of the summary", error)
    return found


def _answered(directory: Path, question: str) -> dict[str, Any] | None:
    """The record there that answers this question. Raises ConfigError where it answers another."""
    path = directory / RECORD
    if not path.exists():
        return None
    try:
        record = files.read_json(path, "force=true replaces it")
    except UserError as error:
        raise ConfigError(f"label: {error}") from None
    if record.get("question") != question:
        raise ConfigError(
            f"label: {path} holds another judgement, of other replies or another judge (name this one with label=NAME, "
            "or replace it with force=true)"
        )
    log.info("%s is there already (force=true does it again)", path)
    return record


def _check_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out: {directory} cannot be written to: {error.strerror}") from None


def _default(replies: Replies) -> Path:
    ours, theirs = (name.replace("/", "--") for name in replies.names)
    return Path("outputs") / "judgements" / f"{ours}-vs-{theirs}-{replies.digest[:8]}"


def printed(record: Mapping[str, Any]) -> str:
    """What the command prints of a record."""
    return json.dumps(as_json({k: v for k, v in record.items() if k != "environment"}), indent=2, ensure_ascii=False)

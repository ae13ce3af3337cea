"""Studies from where they are: directories of runs, single runs, W&B's offline directories, a W&B project.

    from analysis import load
    load("outputs/quick"), load("outputs/quick", "outputs/hh"), load("wandb:ENTITY/PROJECT")

Only finished runs are counted; every other is listed with the reason, so that a report never silently rests on half a
sweep. A bad run costs that run: only a study of which nothing remains is an error. Nothing is ever written.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.study import looks, naming, run_files, wandb_runs
from analysis.study.parallel import made
from analysis.study.study import BENCHMARK, Run, Study
from analysis.study.tables import assemble, numbers
from mars.config import UserError
from mars.record.facts import NEEDED
from mars.record.layout import scores_of
from mars.record.run_directory import RunDirectory

_RUN_NAME = re.compile(r"[^.].*-s\d+-[0-9a-f]{8}")
_SHOWN = 3  # of a list in a remark
_TOGETHER, _PARTS = 64, 256  # runs that are read by one process at least; parts of a study at most


@dataclass
class Ledger:
    """What is said of the runs that were found. left_out: rows of `Study.left_out`."""

    left_out: list[dict[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def leave(self, run: str, source: str, reason: object) -> None:
        self.left_out.append({"run": run, "source": source, "reason": str(reason)})


@contextmanager
def without_collecting() -> Iterator[None]:
    """A study is millions of objects that all stay: to look for garbage among them takes a fifth of reading it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@without_collecting()
def load(*sources: str | Path) -> Study:
    """Read one or more studies.

    A source is a study's directory, a run's, an `offline-run-…` of W&B's or a folder that holds some, or the text
    `wandb:ENTITY/PROJECT[/GROUP]`, which needs a key. A run that is there as a directory is not also taken from W&B.
    Raises UserError when a source is missing or cannot be read, or no run remains.
    """
    ledger, names = Ledger(), _source_names(sources)
    runs: list[Run] = []
    logged: list[tuple[wandb_runs.Logged, str]] = []
    for source, name in zip(sources, names, strict=True):
        if _is_project(source):
            logged += [(run, name) for run in wandb_runs.online(str(source))]
        elif directories := _run_directories(Path(source)):
            runs += _read(directories, name, ledger)
        else:
            logged += [(run, name) for run in wandb_runs.offline(Path(source))]
    runs += _rebuilt(logged, {r.name for r in runs} | {r.directory.name for r in runs if r.directory}, ledger)
    runs = _told_apart(_once(runs, ledger), ledger)
    if not runs:
        raise UserError(f"study: {', '.join(map(str, sources))} holds {_why_none(ledger)}")
    remarks = [*dict.fromkeys(ledger.remarks), *_remarks(runs)]
    study = assemble(", ".join(names), runs, ledger.left_out, remarks)
    looked_at = [found for source in sources if not _is_project(source) and (found := looks.read(Path(source)))]
    if not looked_at:
        return study
    settled = {key: verdict for found in looked_at for key, verdict in found.settled.items()}
    times = ", ".join(str(len(found.looks)) for found in looked_at)
    remark = f"looked at {times} times while it grew: verdicts are by the rule in {looks.FILE}, p knows of no looks"
    return replace(study, settled=settled, margins=looked_at[0].rule.margins, remarks=(*study.remarks, remark))


def _source_names(sources: Sequence[str | Path]) -> list[str]:
    """What each source is called: the end of its path, which is the same on every machine, as long as it has to be."""
    parts = [(str(s),) if _is_project(s) else Path(s).resolve().parts for s in sources]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def _is_project(source: str | Path) -> bool:
    return str(source).startswith(wandb_runs.PREFIX)


def _run_directories(source: Path) -> list[Path]:
    """`source` if it is a run, else the runs in it: only directories that are named like runs are looked at."""
    if not source.is_dir():
        raise UserError(f"study: {source} is not a directory (give the directory that holds the runs)")
    if _is_run(source):
        return [source]
    return sorted(d for d in source.iterdir() if not d.name.startswith(".") and _is_run(d))


def _is_run(directory: Path) -> bool:
    if _RUN_NAME.fullmatch(directory.name) and not os.access(directory, os.X_OK):
        return True  # that it cannot be read is for the reader to hear
    return RunDirectory(directory).is_run


def _read(directories: Sequence[Path], source: str, ledger: Ledger) -> list[Run]:
    def read(part: Sequence[Path]) -> list[tuple[Run | str, list[str]]]:
        return [_run(directory, source) for directory in part]

    step = max(_TOGETHER, -(-len(directories) // _PARTS))
    parts = [directories[first : first + step] for first in range(0, len(directories), step)]
    runs = []
    for directory, (run, remarks) in zip(directories, itertools.chain.from_iterable(made(read, parts)), strict=True):
        if isinstance(run, str):
            ledger.leave(directory.name, source, run)
        else:
            runs.append(run)
            ledger.remarks += remarks
    return runs


def _run(directory: Path, source: str) -> tuple[Run | str, list[str]]:
    """(a run, remarks), or why it cannot be counted and none."""
    try:
        return run_files.from_directory(directory, source)
    except (UserError, OSError) as error:
        return str(error), []


def _rebuilt(logged: Iterable[tuple[wandb_runs.Logged, str]], known: set[str], ledger: Ledger) -> list[Run]:
    """Runs as W&B has them, less those that are `known` from their directories."""
    runs = []
    for one, source in logged:
        try:
            run = run_files.from_wandb(one, source)
        except UserError as error:
            if one.name not in known:
                ledger.leave(one.name, source, error)
        else:
            if run.name not in known:
                runs.append(run)
    return runs


def _once(runs: list[Run], ledger: Ledger) -> list[Run]:
    """Each run once: of several that are alike the first, and none of several that claim one id and are not."""
    claims: dict[str, list[Run]] = {}
    for run in runs:
        claims.setdefault(run.name, []).append(run)
    kept = []
    for name, copies in claims.items():
        places = ", ".join(map(_place, copies))
        if len(copies) == 1:
            kept += copies
        elif len({_evidence(run) for run in copies}) == 1:
            kept.append(copies[0])
            ledger.remarks.append(f"{name} is there {len(copies)} times, alike, and counted once: {places}")
        else:
            for run in copies:
                reason = f"{len(copies)} runs claim the id {name} and differ, so none is counted: {places}"
                ledger.leave(_directory_name(run), run.source, reason)
    return kept


def _evidence(run: Run) -> tuple[Any, ...]:
    """What copies of a run have in common: what it was made from, its steps, and its scores or else its numbers."""
    facts = [run.manifest.get(k) for k in ("config_hash", "start", "steps", "base_sha256", "test_sha256", "weights")]
    scores = run.file(scores_of(BENCHMARK))
    content = scores.read_bytes() if scores else json.dumps(run.metrics, sort_keys=True).encode()
    return (*map(str, facts), hashlib.sha256(content).hexdigest())


def _told_apart(runs: list[Run], ledger: Ledger) -> list[Run]:
    """Less those of one method and seed that no setting tells apart: which of them is meant, nobody can say."""
    alike: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        alike.setdefault(tuple(run.manifest[key] for key in NEEDED), []).append(run)
    twins: dict[str, list[Run]] = {}
    for group in alike.values():
        telling = sorted(naming.differing([run.config for run in group]))
        same: dict[str, list[Run]] = {}
        for run in group:
            same.setdefault(repr([run.config.get(key) for key in telling]), []).append(run)
        twins |= {run.name: runs for runs in same.values() if len(runs) > 1 for run in runs}
    for run in runs:
        if run.name in twins:
            others = ", ".join(_place(other) for other in twins[run.name] if other is not run)
            reason = f"the same arm and seed as {others}, told apart by no setting (move one out of the study)"
            ledger.leave(_directory_name(run), run.source, reason)
    return [run for run in runs if run.name not in twins]


def _directory_name(run: Run) -> str:
    return run.directory.name if run.directory else run.name


def _place(run: Run) -> str:
    return f"{run.source}/{_directory_name(run)}"


def _why_none(ledger: Ledger) -> str:
    if not ledger.left_out:
        return "no runs (start the sweep first)"
    others = [row for row in ledger.left_out if row["reason"] != "unfinished"]
    if not others:
        return f"{len(ledger.left_out)} unfinished runs and no finished one (start or resume the sweep first)"
    return f"no run that can be counted, of {len(ledger.left_out)}; {others[0]['run']}: {others[0]['reason']}"


def _remarks(runs: list[Run]) -> list[str]:
    """What is odd about the study's runs as a whole."""
    found: list[str] = []
    if logged := [run.name for run in runs if run.directory is None]:
        found.append(f"known from W&B alone, without scores to check their numbers by or to pair: {_some(logged)}")
    if bare := [run.name for run in runs if run.directory and not run.scores]:
        found.append(
            f"{scores_of(BENCHMARK)} is missing, so that numbers can be neither checked nor paired: {_some(bare)}"
        )
    for run in runs:
        if unknown := [f"{label}/{part}/{metric}" for label, part, metric, value in numbers(run) if math.isnan(value)]:
            found.append(f"{run.name}: not a number: {_some(unknown)}")
    return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

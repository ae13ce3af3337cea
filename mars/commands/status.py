"""How far a study is: what is done, who works on what, what failed and why, what is waiting, and when all is done.

    mars status outputs/quick                              (or: python -m mars.run status study=outputs/quick)
    mars status outputs/quick --watch                      (or watch=true: again every few seconds, until all is done)

Taken from the run directories and the study's ledger (`mars.record.ledger`); nothing is written.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mars.commands.printing import printing
from mars.config import UserError
from mars.progress import counted, lasting
from mars.record.layout import LOG
from mars.record.ledger import FILE, Contents, Ledger
from mars.record.run_directory import RunDirectory

_LISTED = 10  # waiting runs, by name
_EVERY = 3.0  # seconds between two looks
_USAGE = "usage: status STUDY [--watch]"
_CLEAR = "\x1b[H\x1b[J"  # a terminal


class Running(NamedTuple):
    """A run in somebody's hands. since: seconds since 1970."""

    name: str
    who: str
    since: float


class Failed(NamedTuple):
    """A run that failed. log: the path of its run.log, "" where it has none."""

    name: str
    why: str
    log: str


@dataclass(frozen=True)
class Status:
    """done: names of runs. waiting: names, or what nameless ones are asked for by. seconds: of a run, if known."""

    done: Sequence[str]
    running: Sequence[Running]
    failed: Sequence[Failed]
    waiting: Sequence[str]
    seconds: float | None

    @classmethod
    def of(cls, runs: Mapping[str, RunDirectory], ledger: Contents) -> Status:
        """Runs by what became of them. runs: those that have a directory, by name."""
        done, running, failed, waiting = list[str](), list[Running](), list[Failed](), list[str]()
        asked = {run or job: None for job, run in ledger.jobs.items()}
        for name in dict.fromkeys([*runs, *asked, *ledger.runs]):
            entry = ledger.runs.get(name)
            if entry and entry.who:
                running.append(Running(name, entry.who, entry.began or 0.0))
            elif name in runs and runs[name].finished:
                done.append(name)
            elif entry and entry.why:
                failed.append(Failed(name, entry.why, str(runs[name].file(LOG) or "") if name in runs else ""))
            elif name in runs or name in asked:  # else it was done and its directory deleted
                waiting.append(name)
        ended = [entry for entry in ledger.runs.values() if not entry.why]
        took = [entry.ended - entry.began for entry in ended if entry.began and entry.ended]
        took = [seconds for seconds in took if seconds > 0]  # less: the clock was set back meanwhile
        return cls(done, running, failed, waiting, statistics.median(took) if took else None)

    @property
    def total(self) -> int:
        """All runs."""
        return len(self.done) + len(self.running) + len(self.failed) + len(self.waiting)

    def left(self, now: float) -> float | None:
        """Seconds until nothing is waiting, if those at work go on; None where nobody is or no run tells how long."""
        if self.seconds is None or not self.running:
            return None
        of_these = sum(max(0.0, self.seconds - max(0.0, now - run.since)) for run in self.running)
        return (of_these + self.seconds * len(self.waiting)) / len(self.running)

    def lines(self, study: Path, now: float) -> Iterator[str]:
        """As the terminal shows it."""
        counts = {"running": len(self.running), "failed": len(self.failed), "waiting": len(self.waiting)}
        said = [
            f"{len(self.done)} of {counted(self.total, 'run')} done",
            *(f"{n} {state}" for state, n in counts.items() if n),
        ]
        left = self.left(now)
        yield f"{study}: {', '.join(said)}" + (f"; {lasting(left)} left" if left is not None else "")
        for run in self.running:
            since = time.strftime("%H:%M:%S", time.localtime(run.since))
            yield f"running  {run.name}: {run.who} since {since}, for {lasting(max(0.0, now - run.since))}"
        for failed in self.failed:
            yield f"failed   {failed.name}: {failed.why}" + (f" ({failed.log})" if failed.log else "")
        for name in self.waiting[:_LISTED]:
            yield f"waiting  {name}"
        if len(self.waiting) > _LISTED:
            yield f"waiting  and {len(self.waiting) - _LISTED} more"
        if self.failed:
            yield "the sweep with retry=failed tries again what failed"


def status(study: Path) -> Status:
    """How far a study is. Raises UserError where there is none."""
    if not study.is_dir():
        raise UserError(f"study: {study} is no directory")
    ledger = Ledger(study).contents()
    runs = {path.name: RunDirectory(path) for path in sorted(study.iterdir()) if path.is_dir()}
    runs = {name: run for name, run in runs.items() if run.finished or run.is_run}
    if RunDirectory(study).is_run:  # one that was given as out=DIR
        runs[study.name] = RunDirectory(study)
    if not runs and not ledger.runs and not ledger.jobs:
        raise UserError(f"study: {study} holds no run and no {FILE}")
    return Status.of(runs, ledger)


def _asked(arguments: Sequence[str]) -> Iterator[str]:
    """Of `STUDY --watch`, or `study=STUDY watch=true`: how far it is, and again until all is done."""
    studies = [one.removeprefix("study=") for one in arguments if one not in ("--watch", "watch=true", "watch=false")]
    if len(studies) != 1 or not studies[0] or studies[0].startswith("-"):
        raise UserError(_USAGE)
    study, watch = Path(studies[0]), "--watch" in arguments or "watch=true" in arguments
    with suppress(KeyboardInterrupt):
        while True:
            found = status(study)
            text = "\n".join(found.lines(study, time.time()))
            yield f"{_CLEAR if watch and sys.stdout.isatty() else ''}{text}"
            if not watch or not (found.running or found.waiting):
                return
            time.sleep(_EVERY)


main = printing(_asked, __doc__)

"""A job as a plain task, which any process that has the program and the study's directory can carry out.

for number, outcome in Workers(2).carry_out(tasks): ...  # as they end
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mars.launch.sweep import FAILED, FOUND, Outcome
from mars.plugins import resolve
from mars.process import telemetry
from mars.record.layout import LOG
from mars.record.ledger import Ledger, job_of
from mars.record.run_directory import RunDirectory


@dataclass(frozen=True)
class Task:
    """number: of the job in its batch. config: resolved. began: the sweep, seconds since 1970. function: an address."""

    number: int
    config: Mapping[str, Any]
    overrides: Sequence[str]
    began: float
    function: str = "mars.run:execute_in_sweep"

    def carry_out(self) -> Outcome:
        """How the job ends, in this process."""
        return resolve(self.function)(self.config, self.began, self.overrides)  # type: ignore[no-any-return]

    @property
    def data(self) -> str:
        """What its run reads: a text that tasks on the same data share."""
        return str((self.config["dataset"], self.config["replicate"]))

    @property
    def ledger(self) -> Ledger:
        """That of its run: of the study, or where it has one of its own of the run's directory."""
        return Ledger(Path(self.config["out"] or self.config["study"]))

    def lost(self, why: str) -> Outcome:
        """How it ends where the process that had it is gone: it was finished, or has failed and the ledger says so."""
        job = job_of(self.overrides)
        name = Path(self.config["out"]).name if self.config["out"] else self.ledger.run_of(job)
        place = RunDirectory(Path(self.config["out"] or Path(self.config["study"]) / name))
        if place.finished and (not self.config["force"] or self.ledger.since(self.began, place.ended)):
            return Outcome(FOUND, name)
        self.ledger.end(name, why)
        return Outcome(FAILED, name, why=why, log=str(place.file(LOG) or ""))


def prepare_process() -> None:
    """What the command line does at its start, for a process that another program started."""
    gc.set_threshold(100_000)  # as mars.run does
    telemetry.turn_off()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


class Carrier(Protocol):
    """What carries tasks out, several at once."""

    def carry_out(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """Every task to its end: its number and its outcome, as they come. Asks for tasks as it needs them."""

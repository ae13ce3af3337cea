"""A job as a plain task, which any process that has the program and the study's directory can carry out.

for number, outcome in Workers(2).carry_out(tasks): ...  # as they end
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mars.plugins import resolve
from mars.record.ledger import Ledger, job_of
from mars.sweep import FAILED, Outcome


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

    def lost(self, why: str) -> Outcome:
        """How it ends where the process that had it is gone; the ledger has it as failed."""
        ledger = Ledger(Path(self.config["out"] or self.config["study"]))
        name = ledger.lost(job_of(self.overrides), why)
        return Outcome(FAILED, name, why=why)


class Carrier(Protocol):
    """What carries tasks out, several at once."""

    def carry_out(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """Every task to its end: its number and its outcome, as they come. Asks for a task when it can begin one."""

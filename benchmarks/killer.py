"""Processes that say what they are at, so that `benchmarks.kill` can kill them there.

Each is forked from one that has imported what a run needs. Before it starts to work, the functions that do a phase are
wrapped, and then say through a pipe when they begin and end.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from mars.config import UserError
from mars.plugins import resolve

PHASES = {  # what a process is at: the functions that do it
    "feature writing": ("mars.reward.encoder:FrozenEncoder._keep",),
    "pool filling": ("mars.pool.store:Store._make",),
    "scoring": ("mars.reward.scoring:ModelScorer._score",),
    "training": ("mars.method.trainer:train_round",),
    "checkpointing": ("mars.method.state:State.save",),
    "W&B logging": ("mars.method.wandb_logger:WandbLogger.step", "mars.method.wandb_logger:WandbLogger.round"),
    "model writing": ("mars.reward.engine:Engine.save",),
    "score writing": ("mars.record.run_directory:RunDirectory.write_evaluation",),
    "table writing": ("mars.conduct:Conductor._write_tables",),
    "report writing": ("analysis.report.build:_write",),
}
_LOG = "process.log"  # what the last process printed
_PRELOADED = ["mars.assembly", "mars.conduct", "benchmarks.protocols.in_distribution", "wandb", "peft"]
_PRELOADED += ["transformers.models.t5.modeling_t5", "transformers.models.bert.modeling_bert"]
_PATIENCE = 300.0  # seconds that a child may say nothing

Visit = tuple[str, float, float]  # phase, seconds from the child's start to its begin and to its end


@dataclass(frozen=True)
class Moment:
    """When a process was killed: its phase, and the clock's time of its start and of its end."""

    phase: str
    started: float
    at: float


def run(config: dict[str, Any]) -> None:
    """The child's work, a run."""
    resolve("mars.run:execute")(config)


def report(study: str) -> None:
    """The child's work, a report."""
    resolve("analysis.report.build:report")(study)


def _child(work: Callable[[Any], None], given: Any, told: Connection, log: Path) -> None:
    """Does `work` and says where it is: (phase, True) at a begin and (phase, False) at an end. log: what it prints."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_SILENT="true")
    logging.disable(logging.INFO)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(sink, stream.fileno())
    for phase, targets in PHASES.items():
        if (phase == "report writing") == (work is report):
            for target in targets:
                _tell(target, phase, told)
    told.send(("", True))  # ready
    work(given)


def _tell(target: str, phase: str, told: Connection) -> None:
    """From now on the function `target` tells when it begins and ends."""
    module, _, path = target.partition(":")
    *owner, name = path.split(".")
    place = functools.reduce(getattr, owner, import_module(module))
    function = getattr(place, name)

    @functools.wraps(function)
    def telling(*given: Any, **named: Any) -> Any:
        told.send((phase, True))
        try:
            return function(*given, **named)
        finally:
            told.send((phase, False))

    setattr(place, name, telling)


class Killer:
    """Starts processes that say where they are, and kills them there. seed: of the moments."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self._context = multiprocessing.get_context("forkserver")  # imports once: a child starts in no time
        self._context.set_forkserver_preload(_PRELOADED)

    @contextmanager
    def _started(self, work: Callable[[Any], None], given: Any) -> Iterator[tuple[Any, Connection]]:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(work, given, theirs, self.folder / _LOG))
        process.start()
        theirs.close()
        try:
            _heard(ours)
            yield process, ours
        finally:
            process.kill()
            process.join()

    def undisturbed(self, work: Callable[[Any], None], given: Any) -> list[Visit]:
        """Every visit of a phase. Raises UserError where the work fails."""
        visits, begun = list[Visit](), dict[str, float]()
        with self._started(work, given) as (process, told):
            start = time.monotonic()
            while (word := _heard(told)) is not None:
                phase, begins = word
                now = time.monotonic() - start
                if begins:
                    begun[phase] = now
                else:
                    visits.append((phase, begun.pop(phase), now))
            process.join()
            if process.exitcode:
                said = (self.folder / _LOG).read_text(encoding="utf-8").strip().splitlines() or [""]
                raise UserError(f"a process that nobody killed ended with {process.exitcode}: {said[-1]}")
        return visits

    def killed(self, work: Callable[[Any], None], given: Any, visits: Sequence[Visit], phase: str) -> Moment:
        """Where a process was when it was killed at a random moment of `phase`."""
        times = [end - begin for name, begin, end in visits if name == phase]
        visit = int(self.rng.integers(len(times)))
        delay = float(self.rng.uniform(0, times[visit]))
        with self._started(work, given) as (process, told):
            started = time.time()
            inside: list[str] = []
            while visit >= 0 and (word := _heard(told)) is not None:
                _note(inside, *word)
                visit -= word == (phase, True)
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            at = time.time()
            process.join()
            while (word := _heard(told)) is not None:
                _note(inside, *word)
        return Moment(inside[-1] if inside else f"after {phase}", started, at)


def _note(inside: list[str], phase: str, begins: bool) -> None:
    """The phases that a process is in, the innermost last."""
    if begins:
        inside.append(phase)
    else:
        inside.remove(phase)


def _heard(told: Connection) -> tuple[str, bool] | None:
    """The child's next word; None when it has ended. Raises UserError where it says nothing for too long."""
    try:
        if not told.poll(_PATIENCE):
            raise UserError(f"a process said nothing for {_PATIENCE:.0f} s")
        return told.recv()
    except (EOFError, ConnectionResetError):
        return None

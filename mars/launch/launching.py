"""The jobs of a Hydra sweep on their way to what carries them out: this process, its workers, or Hydra's launcher."""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf, open_dict

from mars.config import ConfigError, UserError
from mars.launch import jobs, slurm
from mars.launch.sweep import FAILED, Job, Outcome, Sweep, Terminal, log_to, show
from mars.launch.tasks import Carrier, Task
from mars.launch.workers import Workers, number
from mars.mistakes import MISTAKES, one_line
from mars.process import ranks
from mars.record.ledger import job_of


class Asked(NamedTuple):
    """A command line. function: of a sweep's jobs, as a `Task` has it; None where they go through no ledger."""

    config_name: str
    function: str | None
    began: float


@contextmanager
def sweeps(asked: Asked, failures: list[str]) -> Iterator[None]:
    """Inside, a sweep's jobs are those that `jobs.prepare` leaves, and with a function they go through a `Sweep`.

    failures: gets a text for each reason for which runs failed. The method is replaced because Hydra takes sweepers of
    others from the package hydra_plugins alone, which every other Hydra program on the machine would import.
    """

    def checked(sweeper: Any, batch: list[list[str]]) -> None:
        if ranks.count() > 1:
            raise UserError("torchrun starts the processes of one run, and this is a sweep (start it without torchrun)")
        log_to(Terminal())
        replaces = asked.function and not isinstance(sweeper.launcher.launch, functools.partial)  # a batch before did
        carrier = _carrier(sweeper, len(batch)) if replaces else None  # it starts while jobs are composed
        jobs.prepare(sweeper, batch)
        if slurm.is_used_by(sweeper.launcher):
            _check_slurm(asked)
        if replaces:
            sweeper.launcher.launch = functools.partial(launched, sweeper, sweeper.launcher.launch, carrier)

    def launched(
        sweeper: Any, launch: Any, carrier: Carrier | None, batch: Sequence[Job], initial_job_idx: int
    ) -> list[Any]:
        counted = carrier is not None or _is_here(sweeper.launcher)
        sweep = Sweep(Path(sweeper.config.hydra.sweep.dir), batch, counted)

        def ends(some: Sequence[Job]) -> list[Outcome]:
            if carrier is not None:
                return _handed_over(sweeper, some, carrier, asked)
            return [_ended(one, asked) for one in launch(some, initial_job_idx=initial_job_idx)]

        try:
            with jobs.composed_once(sweeper) if counted else nullcontext():
                sweep.run(ends)
        finally:
            log_to(logging.StreamHandler())
        failures.extend(sweep.mistakes())
        return []

    Sweeper.validate_batch_is_legal = checked  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Sweeper.validate_batch_is_legal = jobs.check_all  # type: ignore[method-assign]


def _check_slurm(asked: Asked) -> None:
    """Raises UserError where Slurm cannot carry out what is asked."""
    if not asked.function:
        raise ConfigError(
            "hydra/launcher=slurm: carries out the runs of a sweep, none with debug=true or dry_run=true, and no other "
            "command"
        )
    slurm.check()


def _is_here(launcher: Any) -> bool:
    """Whether jobs run in this process. By name, because Hydra imports its plugins a second time."""
    return type(launcher).__name__ == "BasicLauncher"


def _carrier(sweeper: Any, batch: int) -> Carrier | None:
    """What tasks are handed to; None where Hydra's launcher has the jobs as they are. Raises ConfigError."""
    config, launcher = sweeper.config, sweeper.launcher
    if not _is_here(launcher):
        if config.workers != 1:
            name = sweeper.config.hydra.runtime.choices["hydra/launcher"]
            raise ConfigError(f"workers: hydra/launcher={name} has processes of its own (leave one of the two out)")
        if slurm.is_used_by(launcher):
            return slurm.Slurm(launcher.params)
        return launcher if hasattr(launcher, "carry_out") else None
    workers = min(number(config.workers, config.device), batch)
    return Workers(workers, config.device) if workers > 1 else None


def _handed_over(sweeper: Any, batch: Sequence[Job], carrier: Carrier, asked: Asked) -> list[Outcome]:
    """How each job of `batch` ended."""
    found: dict[int, Outcome] = {}

    def tasks() -> Iterator[Task]:  # each is composed when the carrier asks for it
        for index, job in enumerate(batch):
            try:
                yield Task(index, _config(sweeper, job), list(job), asked.began, str(asked.function))
            except MISTAKES as error:
                note(index, Outcome(FAILED, job_of(job), why=one_line(error, asked.config_name)))

    def note(index: int, outcome: Outcome) -> None:
        show(outcome)
        found[index] = outcome

    for index, outcome in carrier.carry_out(tasks()):
        note(index, outcome)
    return [found[index] for index in range(len(batch))]


def _config(sweeper: Any, job: Job) -> dict[str, Any]:
    """A job's config, resolved."""
    config = sweeper.hydra_context.config_loader.load_sweep_config(sweeper.config, list(job))
    with open_dict(config):
        del config["hydra"]
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def _ended(job: Any, asked: Asked) -> Outcome:
    """What Hydra says of a job."""
    try:
        with redirect_stderr(io.StringIO()):  # Hydra writes a line of its own for each job that failed
            return job.return_value  # type: ignore[no-any-return]
    except MISTAKES as error:  # of the config itself
        return Outcome(FAILED, job_of(job.overrides), why=one_line(error, asked.config_name))

"""One run of a sweep as a job of Slurm: what is sent to the node, and how it gives way and comes back.

Slurm asks a job to end in two ways, and the run saves its state at both (`mars.process.stopping`). Before the time is
up it sends submitit's signal, SIGUSR2: the run's state saved, the signal is handed on to submitit, which queues the job
again unless that happened too often. Before a preemption, and at `scancel`, it sends SIGTERM: the job ends, and Slurm
itself queues it again where it was preempted and not cancelled. Started again, the job is the same, and goes on from
the checkpoint.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mars.claims import LEASE
from mars.launch.sweep import FAILED, HELD, Outcome, log_to
from mars.launch.tasks import Task, prepare_process
from mars.process.program import differences
from mars.process.stopping import EXIT_CODE, Stopped, listening
from mars.record.layout import JOB_LOG_VARIABLE
from mars.record.ledger import job_of

_PAUSE = 5.0  # seconds


@dataclass(frozen=True)
class Job:
    """Plain data, so that what runs is the program of the node. name: of the run. program: what asked for it."""

    name: str
    task: Task
    program: Mapping[str, str]

    def __call__(self) -> Outcome:
        """How the run ended; submitit calls it. Does not return where the job is asked to end."""
        import submitit

        if unlike := differences(self.program):
            why = f"the program is not what the sweep was started with: {unlike} (start the sweep again, same command)"
            return self._failed(why)
        logging.getLogger("submitit").propagate = False  # it has a handler of its own
        os.environ[JOB_LOG_VARIABLE] = str(submitit.JobEnvironment().paths.stdout)
        try:
            with listening():
                return self._worked()
        except Stopped as stopped:
            if signal.getsignal(stopped.signal) is not signal.SIG_DFL:
                signal.raise_signal(stopped.signal)  # now submitit\'s: at SIGUSR2 it queues the job again and exits
            sys.exit(EXIT_CODE)

    def checkpoint(self) -> Any:
        """What is queued again, as submitit asks for it; the run's own state is in its directory."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def _worked(self) -> Outcome:
        prepare_process()
        log_to(logging.StreamHandler())
        outcome = self.task.carry_out()
        patience = time.monotonic() + (2 * LEASE if "SLURM_RESTART_COUNT" in os.environ else 0)
        while outcome.state == HELD and time.monotonic() < patience:
            time.sleep(_PAUSE)  # by this very job, on a node that failed, until its lease is over
            outcome = self.task.carry_out()
        # A run that got no name: its settings and data were good where it was asked for.
        if outcome.state == FAILED and outcome.name == job_of(self.task.overrides):
            node = os.environ.get("SLURMD_NODENAME", "a node")
            return self._failed(f"on {node}, not where the sweep was started: {outcome.why}")
        return outcome

    def _failed(self, why: str) -> Outcome:
        """As the ledger has it too: the run is known where the sweep was started."""
        self.task.ledger.end(self.name, why)
        return Outcome(FAILED, self.name, why=why)

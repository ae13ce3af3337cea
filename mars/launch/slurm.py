"""A sweep on Slurm: its runs as a job array, waited for and accounted for (hydra/launcher=slurm).

hydra-submitit-launcher says what a job may ask for, and submitit submits it, takes its answer back and queues it again.
What is here: runs that have ended are no jobs; a sweep that is started again waits for its jobs that are still queued
and submits no others; each run is shown as it ends; and a job that Slurm ended, which never answers, is a failed run.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mars import files
from mars.config import UserError, nearest
from mars.files import reason
from mars.launch.slurm_job import Job
from mars.launch.sweep import FAILED, Outcome
from mars.launch.tasks import Task
from mars.plugins import resolve
from mars.process.program import program
from mars.progress import counted
from mars.record.ledger import Ledger, job_of

log = logging.getLogger("mars.launch.sweep")  # among what a sweep shows

_ARRAY = 1000  # jobs of an array, of which Slurm takes no more (MaxArraySize) unless told
_LOOK = 3.0  # seconds between two questions to Slurm
_PAUSE = 0.5  # seconds between two looks for answers
_LAG = 10.0  # seconds that an answer may take through the file system, after its job ended
_SILENT = 60.0  # seconds without an answer until that is said
_ASKED = 60.0  # seconds for an answer of Slurm
# Of the states that squeue names, those in which a job never starts again; "" where it names none.
_OVER = {
    "": "Slurm no longer knows it",
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "cancelled",
    "COMPLETED": "it ended",
    "DEADLINE": "its deadline passed",
    "FAILED": "killed, or it could not start",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "out of memory (more: hydra.launcher.mem_gb)",
    "PREEMPTED": "preempted and not queued again",
    "TIMEOUT": "out of time before its state was saved (longer: hydra.launcher.signal_delay_s)",
}
_THREADS = (  # srun gives a step one CPU unless it is told, and libraries start a thread for each CPU they see
    'if [ -n "$SLURM_CPUS_PER_TASK" ]; then '
    "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK; fi"
)


def is_used_by(launcher: Any) -> bool:
    """Whether a launcher of Hydra's is that of Slurm."""
    return type(launcher).__name__ == "SlurmLauncher"  # Hydra imports its plugins a second time


def check() -> None:
    """Raises UserError where no job can be submitted from this machine."""
    lacking = [command for command in ("sbatch", "srun", "squeue", "scontrol") if not shutil.which(command)]
    if lacking:
        raise UserError(f"hydra/launcher: there is no Slurm on this machine ({', '.join(lacking)} not found)")
    done = _command("scontrol", "ping")
    if done.returncode and "is UP" not in done.stdout:
        said = _said(done.stderr) or _said(done.stdout)
        raise UserError(f"hydra/launcher: Slurm does not answer ({said})")


class _Submitted(NamedTuple):
    """A run that a job works on. paths: submitit's of that job."""

    run: Any
    task: Task
    paths: Any


class Slurm:
    """Carries out tasks as jobs. params: of Hydra's launcher, as conf/hydra/launcher/slurm.yaml has them."""

    def __init__(self, params: Mapping[str, Any]):
        self._params = dict(params)
        self._folder = Path(params["submitit_folder"])

    def carry_out(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """As `Carrier` has it, but for all tasks at once. Raises UserError where Slurm takes none."""
        jobs: dict[int, tuple[Any, Job]] = {}
        for task in tasks:
            one = _prepared(task)
            if isinstance(one, Outcome):
                yield task.number, one
            else:
                jobs[task.number] = one
        yield from self._ends(self._queued(jobs))

    def _queued(self, jobs: Mapping[int, tuple[Any, Job]]) -> dict[int, _Submitted]:
        """The jobs in the hands of Slurm: those that are queued from before, and the others, which are submitted."""
        from submitit.core.utils import JobPaths

        earlier = self._earlier([run.name for run, _ in jobs.values() if not run.settings.force])
        queued = {
            number: _Submitted(run, job.task, JobPaths(self._folder, earlier[run.name], 0))
            for number, (run, job) in jobs.items()
            if run.name in earlier
        }
        if queued:
            log.info("in the queue already: %s", counted(len(queued), "run"))
        numbers = [number for number in jobs if number not in queued]
        executor = self._executor(-(-len(numbers) // _ARRAY)) if numbers else None
        for first in range(0, len(numbers), _ARRAY):
            some = numbers[first : first + _ARRAY]
            for number, submitted in zip(some, self._submitted(executor, [jobs[n][1] for n in some]), strict=True):
                run, job = jobs[number]
                files.write_text(self._note(run.name), submitted.job_id)
                queued[number] = _Submitted(run, job.task, submitted.paths)
        return queued

    def _note(self, name: str) -> Path:
        """The file that says which job works on a run."""
        from submitit.core.utils import JobPaths

        folder: Path = JobPaths.get_first_id_independent_folder(self._folder)
        return folder / f"{name}.job"

    def _earlier(self, names: Sequence[str]) -> dict[str, str]:
        """{run: its job} of the runs whose job from an earlier sweep is still queued or at work."""
        from submitit.core.utils import JobPaths

        noted = {name: note.read_text("utf-8") for name in names if (note := self._note(name)).is_file()}
        states = (_states(list(noted.values())) or {}) if noted else {}
        return {
            name: job
            for name, job in noted.items()
            if states.get(job, "") not in _OVER and not JobPaths(self._folder, job, 0).result_pickle.exists()
        }

    def _executor(self, arrays: int) -> Any:
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

        params = {key: value for key, value in self._params.items() if key != "submitit_folder"}
        params["setup"] = [_THREADS, *(params.get("setup") or [])]
        params["array_parallelism"] = max(1, params["array_parallelism"] // arrays)
        attempts = params.pop("max_num_timeout")
        executor = submitit.AutoExecutor(self._folder, cluster="slurm", slurm_max_num_timeout=attempts)
        shared = BaseQueueConf.__dataclass_fields__
        executor.update_parameters(**{k if k in shared else f"slurm_{k}": v for k, v in params.items()})
        return executor

    def _submitted(self, executor: Any, jobs: Sequence[Job]) -> list[Any]:
        """submitit's jobs, one array. Raises UserError where Slurm refuses them."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            submitted: list[Any] = executor.submit_array(list(jobs))
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(self._refusal(_said(str(error)))) from None
        first = submitted[0].job_id.partition("_")[0]
        line = "Slurm has %s as job %s, with logs in %s; this goes on without this process (scancel %s ends it)"
        log.info(line, counted(len(jobs), "run"), first, self._folder, first)
        return submitted

    def _refusal(self, said: str) -> str:
        if "partition" in said.lower() and "invalid" in said.lower():
            known = _command("sinfo", "--noheader", "--format=%R").stdout.split()
            partition = self._params["partition"]
            return f'hydra.launcher.partition: "{partition}" is unknown to Slurm{nearest(str(partition), known)}'
        return f"hydra.launcher: Slurm refuses the job: {said}"

    def _ends(self, waiting: dict[int, _Submitted]) -> Iterator[tuple[int, Outcome]]:
        """(number, how it ended) of the jobs, as they end."""
        over: dict[int, float] = {}  # when a job was first seen to be over
        looked = silent = time.monotonic()
        while waiting:
            answers = {f: set(os.listdir(f)) for f in {one.paths.folder for one in waiting.values()} if f.is_dir()}
            for number, asked in list(waiting.items()):
                if asked.paths.result_pickle.name in answers.get(asked.paths.folder, ()):
                    del waiting[number]
                    yield number, _answer(asked)
            if time.monotonic() - looked >= max(_LOOK, len(waiting) / 100):
                states = _states([one.paths.job_id for one in waiting.values()])
                looked = time.monotonic()
                if states is not None:
                    silent = looked
                elif looked - silent >= _SILENT:
                    log.warning("Slurm does not answer (squeue); its jobs go on, and this command waits for them")
                    silent = float("inf")  # said once
                for number, asked in list(waiting.items()) if states is not None else []:
                    state = (states or {}).get(asked.paths.job_id, "")
                    if state not in _OVER:
                        over.pop(number, None)
                    elif looked - over.setdefault(number, looked) >= _LAG:
                        del waiting[number]
                        yield number, _unanswered(asked, state)
            if waiting:
                time.sleep(_PAUSE)


def _prepared(task: Task) -> Outcome | tuple[Any, Job]:
    """How a task has ended without Slurm, or else (its run, what Slurm is to do)."""
    job = job_of(task.overrides)
    try:
        run = resolve("mars.run:Run").of(task.config, task.overrides)
    except Exception as error:  # as `mars.run.execute_in_sweep` takes it
        Ledger(Path(task.config["study"])).refuse(job, reason(error))
        return Outcome(FAILED, job, why=reason(error))
    return run.found(job, task.began) or (run, Job(run.name, task, program()))


def _answer(asked: _Submitted) -> Outcome:
    from submitit.core.utils import pickle_load

    ended, answer = pickle_load(asked.paths.result_pickle)
    if ended == "success":
        outcome: Outcome = answer
        return outcome if outcome.log or not outcome.why else outcome._replace(log=_path(asked.paths))
    if "timed-out too many times" in answer:
        why = "out of time too often (more: hydra.launcher.timeout_min, hydra.launcher.max_num_timeout)"
    else:
        why = answer.strip().splitlines()[-1]
    return _lost(asked, why)


def _unanswered(asked: _Submitted, state: str) -> Outcome:
    lost = "" if _path(asked.paths) else f", without a log (can its node see {asked.paths.folder}?)"
    return _lost(asked, f"its job ended without an answer: {_OVER[state]}{lost}")


def _lost(asked: _Submitted, why: str) -> Outcome:
    """How a run ends whose job has not; the job's log says more than the run's."""
    outcome = asked.task.lost(why)
    return outcome._replace(log=_path(asked.paths) or outcome.log) if outcome.why else outcome


def _path(paths: Any) -> str:
    return str(paths.stdout) if paths.stdout.exists() else ""


def _states(jobs: Sequence[str]) -> dict[str, str] | None:
    """{job: its state} of those that Slurm knows; None where it does not answer."""
    arrays = ",".join(dict.fromkeys(job.partition("_")[0] for job in jobs))
    done = _command("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={arrays}")
    if done.returncode and "Invalid job id" not in done.stderr:
        log.debug("squeue: %s", done.stderr)
        return None
    return dict(line.strip().split("|") for line in done.stdout.splitlines())


def _command(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ASKED)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {_ASKED:.0f} s")


def _said(text: str) -> str:
    """What a command of Slurm says, as one line without its name and stars."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line.strip(" *")) for line in text.splitlines()]
    return "; ".join(line for line in lines if line)

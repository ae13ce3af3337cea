"""Processes of this machine that share the jobs of a sweep: `workers=N`.

Each is forked from a process that has imported torch and the pieces of a run (`mars.launch.forked`), and carries out
one task after another, first those on the data that it has read. Cores are dealt out as threads, GPUs round robin, and
the memory of a GPU in equal parts (`mars.process.devices`). A process that dies takes its run with it and no other:
that run has failed, and another process is started.
"""

from __future__ import annotations

import itertools
import logging
import logging.handlers
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from mars.config import ConfigError
from mars.launch.sweep import Outcome, log_to, shown
from mars.launch.tasks import Task, prepare_process
from mars.process.machine import SHARE, VISIBLE, cores
from mars.process.stopping import EXIT_CODE, SIGNALS, Stopped, listening

_AHEAD = 64  # tasks among which one is chosen for a worker; to compose so many takes less time than the first run
_PATIENCE = 60.0  # seconds that a process which is asked to stop has to save what it trained


def number(asked: int | Literal["auto"], device: str) -> int:
    """How many processes `workers=` means: `auto` is one for each GPU, without one for each core.

    Raises ConfigError for a number that this machine has no cores for.
    """
    most = cores()
    if asked == "auto":
        return min(len(cards(device)), most) or most
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise ConfigError(f"workers: a whole number from 1 or auto, not {asked!r}")
    if asked > most:
        raise ConfigError(f"workers: {asked} are more than the {most} cores that this process may use (auto: as many)")
    return asked


def cards(device: str) -> list[str]:
    """The GPUs that the setting `device` leaves open, as CUDA_VISIBLE_DEVICES names them."""
    if device not in ("auto", "cuda"):
        return []
    if (visible := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    asked = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else []


def environments(number: int, device: str) -> list[dict[str, str]]:
    """What each of `number` processes is told: its threads, its GPU, and its part of that GPU's memory."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // number))
    found = [{"OMP_NUM_THREADS": threads, "TQDM_DISABLE": "1"} for _ in range(number)]  # the sweep has the one bar
    dealt = cards(device)
    for index, environment in enumerate(found):
        together = number if device.startswith("cuda:") else 1  # all on that one
        if dealt:
            environment[VISIBLE] = dealt[index % len(dealt)]
            together = len(range(index % len(dealt), number, len(dealt)))
        if together > 1:
            environment[SHARE] = str(1 / together)
    return found


class Workers:
    """number: of processes. device: the setting of their runs. What they are forked from starts at once."""

    def __init__(self, number: int, device: str = "auto"):
        self.environments = environments(number, device)
        forkserver.set_forkserver_preload(["mars.launch.forked"])
        with _environment(self.environments[0]):  # its libraries read there how many threads they may have
            forkserver.ensure_running()

    def carry_out(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """As `Carrier` has it. Raises Stopped where this process or one of the others is asked to stop."""
        workers: list[_Worker] = []
        with listening():
            try:
                waiting = Waiting(tasks)
                for environment in self.environments:
                    workers.append(_Worker(environment))
                while True:
                    for worker in workers:
                        others = {one.data for one in workers if one is not worker}
                        if worker.task is None and (task := waiting.next_for(worker.data, others)) is not None:
                            worker.begin(task)
                    busy = {worker: worker.task.number for worker in workers if worker.task is not None}
                    if not busy:
                        return
                    for worker in _heard_from(busy):
                        if (outcome := worker.hear()) is not None:
                            yield busy[worker], outcome
            finally:
                _dismiss(workers)


class Waiting:
    """Tasks that no worker has begun. Some are composed ahead, while workers start, so that there is a choice."""

    def __init__(self, tasks: Iterable[Task]):
        self._rest = iter(tasks)
        self._ahead = list(itertools.islice(self._rest, _AHEAD))

    def next_for(self, data: str, others: Collection[str]) -> Task | None:
        """The first on `data`, which the worker has read; else one on data that no other has read; else the first."""
        if not self._ahead:
            return None
        chosen = min(self._ahead, key=lambda task: (task.data != data, task.data in others))  # the first of the least
        self._ahead.remove(chosen)
        self._ahead += itertools.islice(self._rest, 1)
        return chosen


class _Worker:
    """One process, the task it has in hand, and the data it has read."""

    def __init__(self, environment: Mapping[str, str]):
        self.environment = environment
        self.task: Task | None = None
        self.data = ""
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, {**os.environ, **self.environment}))
        self.process.start()
        theirs.close()

    def begin(self, task: Task) -> None:
        """Hands it over."""
        if not self.process.is_alive():
            self._start()
        self.task, self.data = task, task.data
        with suppress(OSError):  # it died this moment, which is heard of next
            self.pipe.send(task)

    def hear(self) -> Outcome | None:
        """What has come: the task's outcome, or a line of its log, which is shown. Raises Stopped where it stopped."""
        try:
            said = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            said = None
        if isinstance(said, logging.LogRecord):
            logging.getLogger(said.name).handle(said)
            return None
        task, self.task = self.task, None
        return said if isinstance(said, Outcome) else self._died(task)

    def _died(self, task: Task | None) -> Outcome:
        self.process.join()
        self.data = ""
        code = self.process.exitcode or 0
        if code == EXIT_CODE:
            raise Stopped
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = " (out of memory? fewer workers take less)" if code == -signal.SIGKILL else ""
        assert task is not None
        return task.lost(f"its process {how}{hint}")


def _heard_from(workers: Iterable[_Worker]) -> list[_Worker]:
    """Those that have said something or are gone, as soon as there is one."""
    by_handle: dict[Any, _Worker] = {}
    for worker in workers:
        by_handle[worker.pipe] = by_handle[worker.process.sentinel] = worker
    return list(dict.fromkeys(by_handle[handle] for handle in wait(list(by_handle))))


def _dismiss(workers: Sequence[_Worker]) -> None:
    """Ends all; those that train save first."""
    try:
        for worker in workers:
            worker.pipe.close()
            if worker.task is not None:
                worker.process.terminate()
        for worker in workers:
            worker.process.join(_PATIENCE)
    finally:
        for worker in workers:
            worker.process.kill()


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """Inside, a process that is started has `more` in its environment."""
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Line(logging.handlers.QueueHandler):
    """Sends on what the sweep's terminal shows."""

    def __init__(self, say: Callable[[Any], None]):
        super().__init__(queue.SimpleQueue())  # which is not used
        self.addFilter(shown)
        self._say = say

    def enqueue(self, record: logging.LogRecord) -> None:
        """Sends the line."""
        self._say(record)


def _work(pipe: Connection, environment: Mapping[str, str]) -> None:
    """A worker's life: tasks come, outcomes go, until the pipe is closed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # which its parent does not hear
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C, which the sweep answers for all
    os.environ.clear()
    os.environ.update(environment)
    prepare_process()
    lock = threading.Lock()

    def say(what: Outcome | logging.LogRecord) -> None:
        with lock, suppress(OSError):  # the sweep is gone, and the run goes on to its end
            pipe.send(what)

    log_to(_Line(say))
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            with listening():  # a run listens when it trains
                outcome = task.carry_out()
        except Stopped:
            sys.exit(EXIT_CODE)
        say(outcome)

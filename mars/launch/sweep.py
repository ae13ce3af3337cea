"""A sweep: its jobs, those that other processes have in hand, and what the terminal shows.

Jobs run in their order. One whose run is somebody else's is left and taken up again at the end, when it is finished or
its owner is dead. The terminal has one bar and a line a run; all else goes into each run's run.log.

    sweep = Sweep(Path("outputs/quick"), jobs, counted=True)
    sweep.run(launch)  # (jobs → their outcomes)
    sweep.mistakes()
"""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from mars.process import ranks
from mars.progress import counted, lasting
from mars.record.ledger import Ledger, job_of

log = logging.getLogger(__name__)

DONE_HERE, FOUND, FAILED, HELD = "done", "found", "failed", "held"  # found: it had ended without this process
PACKAGES = ("mars", "baselines", "benchmarks", "analysis")  # whose runs' lines are in their run.log
_SHOWN = ("mars.launch.sweep", "mars.record.ledger")
_PAUSE = 0.5  # seconds
_LISTED = 20  # runs of one mistake, by name
_BAR = "{percentage:3.0f}%|{bar:30}| {desc}"

Job = Sequence[str]  # overrides


class Outcome(NamedTuple):
    """How a job ended.

    state: of the above. name: of its run; of a run without one, what it was asked by. seconds: it took here.
    new: it ended since the sweep began, here or elsewhere. why: it failed. log: the file that says more.
    """

    state: str
    name: str
    new: bool = True
    seconds: float = 0.0
    result: str = ""
    why: str = ""
    log: str = ""

    def __str__(self) -> str:
        if self.state == FAILED:
            return f"{self.name} failed: {self.why}"
        return ", ".join(filter(None, (f"{self.name} done in {lasting(self.seconds)}", self.result)))


class Sweep:
    """The jobs of one sweep. counted: this process hears of each one's end, so that it can count them."""

    def __init__(self, study: Path, jobs: Sequence[Job], counted: bool):
        self.study, self.ledger, self.jobs = study, Ledger(study), jobs
        self.counted = counted
        self.outcomes: list[Outcome] = []

    def run(self, launch: Callable[[Sequence[Job]], Sequence[Outcome]]) -> None:
        """Every job to its end, here or elsewhere."""
        told, held = False, list[tuple[str, Job]]()  # with the run's name
        elsewhere = any(one.startswith("out=") for job in self.jobs for one in job)
        noted = [] if elsewhere else map(job_of, self.jobs)
        with self.ledger.sweep(list(noted)), _counting(len(self.jobs), self.counted):
            todo = list(self.jobs)
            while todo:
                ends = launch(todo)
                held += [(end.name, job) for job, end in zip(todo, ends, strict=True) if end.state == HELD]
                self.outcomes += [end for end in ends if end.state != HELD]
                if held and not told:
                    log.info("waiting for %s that others work on", counted(len(held), "run"))
                    told = True
                if all(end.state == HELD for end in ends):
                    time.sleep(_PAUSE)  # in a ledger that is not the study's, or somebody was faster
                free = self.ledger.wait([name for name, _ in held]) if held else []
                todo = [job for name, job in held if name in free]
                held = [one for one in held if one[0] not in free]
        self._sum_up(elsewhere)

    def _sum_up(self, elsewhere: bool) -> None:
        """How the runs ended, and the command that shows what they say; none of runs that are not in the study."""
        ends = Counter(FAILED if one.why else one.state for one in self.outcomes)
        words = {DONE_HERE: "done here", FOUND: "found finished", FAILED: "failed"}
        said = ", ".join(f"{ends[state]} {word}" for state, word in words.items() if ends[state])
        log.info("%s: %s", counted(len(self.outcomes), "run"), said)
        if not elsewhere and ends[FAILED] < len(self.outcomes):
            log.info("report: python -m analysis.report %s", shlex.quote(f"study={self.study}"))

    def mistakes(self) -> list[str]:
        """A text for each reason for which runs failed, with these runs."""
        reasons: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            if outcome.why:
                reasons.setdefault(outcome.why, []).append(outcome)
        return ["\n".join([why, *_listed(failed)]) for why, failed in reasons.items()]


def _listed(failed: Sequence[Outcome]) -> Iterator[str]:
    for one in failed[:_LISTED]:
        before = "" if one.new else "; failed before and not tried again (retry=failed does)"
        yield f"  {one.name}{f' ({one.log})' if one.log else ''}{before}"
    if len(failed) > _LISTED:
        yield f"  and {len(failed) - _LISTED} more"


class _Count:
    """How many jobs of a sweep have ended, and when the others will have."""

    def __init__(self, total: int):
        self.total, self.ended, self.new = total, 0, 0
        self._marks = [time.monotonic()]  # the sweep's start, and the first new end: what loads once is in between
        shown = sys.stderr.isatty()
        self.bar = tqdm(total=total, bar_format=_BAR, leave=False, mininterval=0, miniters=1) if shown else None
        if self.bar is not None:
            self.bar.set_description_str(str(self))

    def add(self, outcome: Outcome) -> None:
        self.ended += 1
        self.new += outcome.new
        if self.new == 1 and outcome.new:
            self._marks.append(time.monotonic())
        if self.bar is not None:
            self.bar.set_description_str(str(self), refresh=False)
            self.bar.update()

    def __str__(self) -> str:
        left = self.total - self.ended
        said = f"{self.ended} of {counted(self.total, 'run')}"
        if not left or not self.new:
            return said
        start = min(1, self.new - 1)
        each = (time.monotonic() - self._marks[start]) / (self.new - start)
        return f"{said}, {lasting(left * each)} left"


_count: _Count | None = None  # of the sweep that this process runs; None in a worker of a launcher


@contextmanager
def _counting(total: int, shown: bool) -> Iterator[None]:
    global _count
    _count = _Count(total) if shown else None
    try:
        yield
    finally:
        if _count is not None and _count.bar is not None:
            _count.bar.close()
        _count = None


def show(outcome: Outcome) -> None:
    """A job's end: a line in the terminal and a step of the bar; where there is no bar, the line says how many."""
    if outcome.state == HELD:
        return
    if _count is not None:
        _count.add(outcome)
    if outcome.state != FOUND:
        number = f"{_count}: " if _count is not None and _count.bar is None else ""
        log.info("%s%s", number, outcome)


def shown(record: logging.LogRecord) -> bool:
    """Whether a line of the log is for a sweep's terminal: its own, the ledger's, and what libraries warn of."""
    package = record.name.partition(".")[0]
    return record.name in _SHOWN or (package not in PACKAGES and record.levelno >= logging.WARNING)


class Terminal(logging.Handler):
    """A sweep's terminal, where lines do not disturb the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line, if it is shown."""
        if shown(record):
            tqdm.write(self.format(record), file=sys.stderr)


def log_to(handler: logging.Handler) -> None:
    """Time and message into `handler`; libraries only from a warning up."""
    if ranks.number():  # what rank 0 does too
        handler = logging.NullHandler()
    form, clock = "%(asctime)s %(message)s", "%H:%M:%S"
    logging.basicConfig(format=form, datefmt=clock, level=logging.WARNING, force=True, handlers=[handler])
    for name in PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)

"""Who works on which run of a study, and how each ended: STUDY/ledger.sqlite, shared by all that work there.

A run is claimed before it is worked on (`mars.claims`), so any number of sweeps, on machines that share the directory
too, go through one study and none does a run twice. The file is a help and no truth: `DONE` says what is finished.
Lost, it costs the list of what failed; damaged, it is moved aside; where it cannot be used, that is said and runs go on
unclaimed. So it need not wait for the disk, which would take longer than all else that a sweep adds to a short run.

    ledger = Ledger(Path("outputs/quick"))
    with ledger.work("mars-planted-minilm-s0-1234abcd", job_of(["method=mars", "seed=0"])):  # raises Held
        ...
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from mars import claims, files
from mars.cache import Cache, Damaged, move_aside
from mars.config import WITHOUT_EFFECT, UserError
from mars.files import reason

T = TypeVar("T")
log = logging.getLogger(__name__)

FILE = "ledger.sqlite"
_TABLES = f"""
CREATE TABLE IF NOT EXISTS runs (
    name TEXT PRIMARY KEY, began REAL, ended REAL, why TEXT  -- ended: NULL until then; why: it failed, else ''
);
CREATE TABLE IF NOT EXISTS jobs (
    job TEXT PRIMARY KEY, sweep BLOB, run TEXT  -- the latest sweep that asked; run: its name, NULL until that is known
);
{claims.TABLE}"""
_ALIKE = WITHOUT_EFFECT - {"replicate", "out", "scale"}  # settings that do not tell one job of a study from another
_NOBODY: Mapping[bytes, str] = {}
_UNCLAIMED = "runs are not claimed, so do not start another sweep of this study"
_SLEEPS = (0.05, 2.0)  # seconds, first and longest pause between two looks at what others work on


class Held(UserError):
    """Somebody else works on the run. name: the run's."""

    def __init__(self, name: str, who: str):
        super().__init__(f"{name}: {who} works on it")
        self.name = name


class Entry(NamedTuple):
    """What the ledger says of a run. began, ended: seconds since 1970, None before that; why: it failed, else ""."""

    began: float | None
    ended: float | None
    why: str
    who: str = ""  # works on it now


class Contents(NamedTuple):
    """All that a ledger says. jobs: {job: the name of its run, None until that is known}."""

    runs: Mapping[str, Entry]
    jobs: Mapping[str, str | None]


def job_of(overrides: Sequence[str]) -> str:
    """What a sweep asks for, as text; the same for the same settings, wherever they write to."""
    return " ".join(sorted(one for one in overrides if one.split("=")[0] not in _ALIKE))


class Ledger:
    """The ledger of one directory, which is made when it is first needed. lease: see `claims.LEASE`, in seconds."""

    def __init__(self, directory: Path, lease: float = claims.LEASE):
        remedy = "delete the file; finished runs stay finished"
        self.file = Cache(directory / FILE, "runs", "name", _TABLES, remedy, durable=False, kept=True)
        self._claims = claims.Claims(self.file, lease)

    @contextmanager
    def work(self, name: str, job: str) -> Iterator[None]:
        """The run is this process's until the block ends, and how it ended is written down.

        Raises Held where it is somebody else's.
        """
        key = claims.key_of(name)

        def choose(database: sqlite3.Connection, held: Mapping[bytes, str]) -> list[bytes]:
            if key in held:
                return []
            database.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, NULL, '')", (name, self.now()))
            _assign(database, job, name)
            return [key]

        with ExitStack() as stack:
            claim = self._tried(lambda: stack.enter_context(self._claims.claim(choose)), None)
            if claim and not claim.keys:
                raise Held(name, claim.others[key])
            try:
                yield
            except Exception as error:
                self.end(name, reason(error))
                raise
            self.end(name, "")

    def end(self, name: str, why: str) -> None:
        """A run has ended now, whoever worked on it. why: it failed, else ""."""

        def write() -> None:
            with self.file.transaction() as database:
                database.execute("INSERT OR IGNORE INTO runs VALUES (?, NULL, NULL, '')", (name,))
                database.execute("UPDATE runs SET ended = ?, why = ? WHERE name = ?", (self.now(), why, name))

        self._tried(write, None)

    def now(self) -> float:
        """Seconds since 1970 by the clock that all who work on the study share (`claims.shared_time`)."""
        return claims.shared_time(self.file.path)

    def since(self, began: float, ended: float) -> bool:
        """Whether what ended then, by that clock, did so since `began`, by this machine's.

        A time that is yet to come was told by a clock that has been set back: it was before.
        """
        now = self.now()
        return began + now - time.time() <= ended <= now + claims.AGREE

    def failure(self, name: str) -> Entry | None:
        """How the run failed when it was last worked on; None where it did not."""

        def read() -> Entry | None:
            with self.file.open() as database:
                row = database.execute("SELECT began, ended, why FROM runs WHERE name = ?", (name,)).fetchone()
            return Entry(*row) if row and row[2] else None

        return self._tried(read, None)

    def know(self, job: str, name: str) -> None:
        """Which run a job turned out to be."""

        def write() -> None:
            with self.file.open() as database:
                known = database.execute("SELECT run FROM jobs WHERE job = ?", (job,)).fetchone()
                if known and known[0] != name:
                    _assign(database, job, name)

        self._tried(write, None)

    def refuse(self, job: str, why: str) -> None:
        """A job whose settings or data are such that its run has no name, so that it goes by its own."""
        self.know(job, job)
        self.end(job, why)

    def run_of(self, job: str) -> str:
        """The name of a job's run; the job itself where none is known."""
        return self.contents().jobs.get(job) or job

    @contextmanager
    def sweep(self, jobs: Sequence[str]) -> Iterator[None]:
        """Inside, a sweep works on these jobs. Those that no run began of are forgotten when another begins later."""
        sweep = claims.key_of("\n".join(sorted(jobs)))  # the same command in several processes is one sweep

        def choose(database: sqlite3.Connection, held: Mapping[bytes, str]) -> list[bytes]:
            database.executemany(
                "INSERT INTO jobs VALUES (?, ?, NULL) ON CONFLICT (job) DO UPDATE SET sweep = excluded.sweep",
                [(job, sweep) for job in jobs],
            )
            for (other,) in database.execute("SELECT DISTINCT sweep FROM jobs WHERE run IS NULL").fetchall():
                if other != sweep and other not in held:
                    database.execute("DELETE FROM jobs WHERE run IS NULL AND sweep = ?", (other,))
            return [sweep]

        with ExitStack() as stack:
            self._tried(lambda: stack.enter_context(self._claims.claim(choose)), None)
            yield

    def wait(self, names: Collection[str]) -> list[str]:
        """Those of `names` that nobody works on, as soon as there is one."""
        pause = _SLEEPS[0]
        while True:
            held = self._tried(self._held, _NOBODY)
            if free := [name for name in names if claims.key_of(name) not in held]:
                return free
            time.sleep(pause)
            pause = min(2 * pause, _SLEEPS[1])

    def _held(self) -> Mapping[bytes, str]:
        with self.file.open() as database:
            return claims.in_hand(database, self.now())

    def contents(self) -> Contents:
        """All that is in it; nothing where it is not there or cannot be read. Never writes."""
        if not self.file.path.exists():
            return Contents({}, {})
        try:
            with self.file.open() as database:
                if not self.file.created(database):
                    return Contents({}, {})
                held = claims.in_hand(database)
                rows = database.execute("SELECT name, began, ended, why FROM runs")
                runs = {name: Entry(*rest) for name, *rest in rows}
                jobs = dict(database.execute("SELECT job, run FROM jobs").fetchall())
        except UserError as error:
            log.warning("%s", error)
            return Contents({}, {})
        owned = {name: entry._replace(who=held.get(claims.key_of(name), "")) for name, entry in runs.items()}
        return Contents(owned, jobs)

    def _tried(self, step: Callable[[], T], otherwise: T) -> T:
        """What `step` returns, after a damaged file was moved aside; `otherwise` where the file cannot be used."""
        try:
            self.file.create()
            return step()
        except Damaged as damaged:
            return self._repaired(damaged, step, otherwise)
        except UserError as error:
            files.say_once(log, f"{error}; {_UNCLAIMED}")
            return otherwise

    def _repaired(self, damaged: Damaged, step: Callable[[], T], otherwise: T) -> T:
        try:
            move_aside(damaged)
            self.file.create()
            return step()
        except UserError as error:
            files.say_once(log, f"{error}; {_UNCLAIMED}")
            return otherwise


def _assign(database: sqlite3.Connection, job: str, name: str) -> None:
    database.execute("UPDATE jobs SET run = ? WHERE job = ?", (name, job))
    if job != name:
        database.execute("DELETE FROM runs WHERE name = ?", (job,))  # it has a name now

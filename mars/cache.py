"""Rows kept by key in a SQLite file: made once, then read by every run on the machine.

SQLite rather than one file a row: several processes may read and fill it at once, a write is there or not there, and a
hundred thousand rows stay one file. Its rollback journal rather than its write-ahead log, which needs shared memory and
so one machine. The first row of a key counts: a later one changes nothing.

    cache = Cache(Path("cache/replies.sqlite"), "replies", "call", TABLE, "move the file away")
    cache.create()
    cache.insert([(key, reply)])
    dict(cache.read("call, reply", [key]))
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mars.config import UserError

LOOKUP = 500  # keys in one SELECT
_PATIENCE = 60.0  # seconds to wait for another process's transaction
_BUSY = "may this user write it, is the disk full, or does another process hold it?"


class Damaged(UserError):
    """A file that SQLite cannot read."""


@dataclass(frozen=True)
class Cache:
    """A table of a SQLite file, its rows told apart by one column.

    schema: statements that create the file's tables where they are missing, each ended by a semicolon.
    remedy: what to do about a damaged file, and what follows: "delete the file; features are computed again".
    durable: False does not wait for the disk: a hundred times as fast, and a machine that loses power may damage it.
    """

    path: Path
    table: str
    key: str  # the column
    schema: str
    remedy: str
    durable: bool = True

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one short piece of work, each statement a transaction unless BEGIN is said.

        Raises UserError where SQLite cannot use the file, Damaged where that is because of what is in it.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as database:
                if not self.durable:
                    database.execute("PRAGMA synchronous = OFF")
                yield database
        except sqlite3.OperationalError as error:
            raise UserError(f"{self.path}: {error} ({_BUSY})") from error
        except sqlite3.DatabaseError as error:
            raise Damaged(f"{self.path}: {error} ({self.remedy})") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose statements take effect together at the end, or not at all where something is raised."""
        with self.open() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    def create(self) -> None:
        """Makes folder, file and tables. Writes nothing where the tables are there, so that a file may be read-only.

        Raises UserError for a folder that cannot be made and for a damaged file.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path.parent}: {self.table} cannot be stored here ({error.strerror})") from error
        with self.open() as database:
            if not self.created(database):
                database.executescript(f"BEGIN IMMEDIATE; {self.schema} COMMIT;")

    def read(self, columns: str, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """The rows of those `keys` that are stored, in any order; none where there is no file. Never writes."""
        if not keys or not os.path.exists(self.path):
            return []
        with self.open() as database:  # a file without the table: another process is about to create it
            return list(self.select(database, columns, keys)) if self.created(database) else []

    def insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds whole rows in one transaction; a row whose key is there already is left out."""
        with self.transaction() as database:
            self.add(database, rows)

    def select(self, database: sqlite3.Connection, columns: str, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        """`read` inside a transaction of the caller's."""
        for start in range(0, len(keys), LOOKUP):
            part = keys[start : start + LOOKUP]
            marks = ",".join("?" * len(part))
            yield from database.execute(f"SELECT {columns} FROM {self.table} WHERE {self.key} IN ({marks})", part)

    def add(self, database: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """`insert` inside a transaction of the caller's."""
        if rows:
            marks = ",".join("?" * len(rows[0]))
            database.executemany(f"INSERT OR IGNORE INTO {self.table} VALUES ({marks})", rows)

    def created(self, database: sqlite3.Connection) -> bool:
        """Whether the tables are there; in a file that another process has just opened they may not be yet."""
        return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (self.table,)).fetchone())

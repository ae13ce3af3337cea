"""Rows kept by key in a SQLite file: made once, then read by every run on the machine.

SQLite rather than one file a row: several processes may read and fill it at once, a write is there or not there, and a
hundred thousand rows stay one file. Its rollback journal rather than its write-ahead log, which needs shared memory and
so one machine. The first row of a key counts: a later one changes nothing.

What can be made again never stops a run: a damaged file is moved aside, and beside one of another version's layout
there is one of ours, so that two versions may share a folder. A table that an older version did not have is added.

    cache = Cache(Path("cache/features.sqlite"), "features", "text", TABLE, "features are computed again")
    cache.create()
    cache.insert([(key, vector)])
    dict(cache.read("text, vector", [key]))
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mars import files
from mars.config import UserError

log = logging.getLogger(__name__)

LOOKUP = 500  # keys in one SELECT
_PATIENCE = 60.0  # seconds to wait for another process's transaction
_TO_DO = {  # by how the name of SQLite's error begins
    "SQLITE_FULL": f"make room, {files.AGAIN}",
    "SQLITE_BUSY": f"another process has held it for {_PATIENCE:.0f} s",
    "SQLITE_READONLY": f"may this user write it, and its folder? Mend that, {files.AGAIN}",
    "SQLITE_CANTOPEN": "may this user write its folder? Or has that gone, or something else its name, a broken link "
    f"perhaps? Mend that, {files.AGAIN}",
    "SQLITE_IOERR": f"see that the disk is sound and has room, {files.AGAIN}",
}


def default_place() -> Path:
    """Where caches are unless `cache` says otherwise: the directory that MARS_CACHE names, else ~/.cache/mars."""
    return Path(os.environ.get("MARS_CACHE", "~/.cache/mars")).expanduser()


class Damaged(UserError):
    """A file that SQLite cannot read, or that holds what was not written. number: of its inode, None if not known."""

    def __init__(self, text: str, path: Path, number: int | None):
        super().__init__(text)
        self.path, self.number = path, number


class OtherLayout(UserError):
    """A file of SQLite's with other tables: of another version of mars, or of another program."""


@dataclass(frozen=True)
class Cache:
    """A table of a SQLite file, its rows told apart by one column.

    schema: statements that create the file's tables where they are missing, each ended by a semicolon.
    remedy: what to do about a damaged file, and what follows: "features are computed again".
    durable: False does not wait for the disk: a hundred times as fast, and a machine that loses power may damage it.
    kept: it is for the user to say what becomes of a file that cannot be used, because it cost more than time, say.
    """

    path: Path
    table: str
    key: str  # the column
    schema: str
    remedy: str
    durable: bool = True
    kept: bool = False

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one short piece of work, each statement a transaction unless BEGIN is said.

        Raises UserError where SQLite cannot use the file, Damaged where that is because of what is in it, OtherLayout
        where that is another version's and `kept`.
        """
        with self._opened() as database:
            if fits := self.fits(database):
                yield database
        if not fits:
            aside = self.path.with_name(f"{self.path.stem}.{files.digest(_wanted(self.schema))[:8]}{self.path.suffix}")
            files.say_once(log, f"{self._foreign()}; it is left alone, and {aside.name} is used")
            with replace(self, path=aside, kept=True).open() as database:
                yield database

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        number = _inode(self.path)
        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as database:
                if not self.durable:
                    database.execute("PRAGMA synchronous = OFF")
                yield database
        except sqlite3.OperationalError as error:
            name = getattr(error, "sqlite_errorname", "")
            to_do = next((text for start, text in _TO_DO.items() if name.startswith(start)), self.remedy)
            raise UserError(f"{self.path}: {error} ({to_do})") from error
        except sqlite3.DatabaseError as error:
            raise Damaged(f"{self.path}: {error} ({self.remedy})", self.path, number) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose statements take effect together at the end, or not at all where something is raised.

        The tables are there, in a file that was removed meanwhile too. Raises Damaged once the file is out of the way.
        """
        self.create()
        try:
            with self.open() as database:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
        except Damaged as damaged:
            self._discard(damaged)
            raise

    def create(self) -> None:
        """Makes folder, file and tables. Writes nothing where the tables are there, so that a file may be read-only.

        Raises UserError for a folder that cannot be made and for a file that cannot be used.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.path.parent}: {self.table} cannot be stored here: {files.words(error)} ({files.mending(error)})"
            ) from error
        try:
            self._create()
        except Damaged as damaged:
            self._discard(damaged)
            self._create()

    def _create(self) -> None:
        with self.open() as database:
            if not _wanted(self.schema).keys() <= _layout(database).keys():
                database.executescript(f"BEGIN IMMEDIATE; {self.schema} COMMIT;")

    def read(self, columns: str, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """The rows of those `keys` that are stored, in any order; none where there is no file. Adds nothing to it."""
        if not keys or not os.path.exists(self.path):
            return []
        try:
            with self.open() as database:  # a file without the table: another process is about to create it
                return list(self.select(database, columns, keys)) if self.created(database) else []
        except Damaged as damaged:
            self._discard(damaged)
            return []

    def insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds whole rows in one transaction; a row whose key is there already is left out."""
        try:
            self._insert(rows)
        except Damaged:
            if self.kept:
                raise
            self._insert(rows)  # into a new file

    def _insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
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

    def fits(self, database: sqlite3.Connection) -> bool:
        """Whether its tables, if there are any, are those of this version. Raises OtherLayout instead where `kept`."""
        if _fits(_layout(database), self.schema, self.table):
            return True
        if self.kept:
            raise OtherLayout(f"{self._foreign()} ({self.remedy})")
        return False

    def _foreign(self) -> str:
        return f"{self.path}: has other tables, of another version of mars or of another program"

    def refuse(self, what: str) -> None:
        """Puts the file out of the way as a damaged one, for what was read in it; raises Damaged where it is `kept`."""
        self._discard(Damaged(f"{self.path}: {what} ({self.remedy})", self.path, _inode(self.path)))

    def _discard(self, damaged: Damaged) -> None:
        if self.kept:
            raise damaged
        move_aside(damaged)


def move_aside(damaged: Damaged) -> None:
    """Gives a damaged file another name, unless another process has by now. Raises `damaged` where that fails."""
    path, aside = damaged.path, damaged.path.with_name(f"{damaged.path.name}.damaged")
    try:
        with files.alone(path.parent):
            if damaged.number != _inode(path):
                return
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)  # it would be played into a new file
            os.replace(path, aside)
    except OSError:
        raise damaged from None
    log.warning("%s; it is now %s", damaged, aside.name)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _layout(database: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """{table: its columns}."""
    found: dict[str, tuple[str, ...]] = {}
    for table, column in database.execute(
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c "
        "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"
    ):
        found[table] = (*found.get(table, ()), column)
    return found


def of_layout(path: Path, schema: str, table: str) -> bool:
    """Whether a file's tables are those of `schema`, or it has none yet. Raises sqlite3.Error for what is no file of
    SQLite's."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        return _fits(_layout(database), schema, table)


def _fits(found: Mapping[str, tuple[str, ...]], schema: str, table: str) -> bool:
    """Whether `table` is there as it should be, and of the others nothing is there as it should not be."""
    wanted = _wanted(schema)
    return not found or (
        table in found and all(found.get(name, columns) == columns for name, columns in wanted.items())
    )


@functools.cache
def _wanted(schema: str) -> Mapping[str, tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema)
        return _layout(database)

"""Variants on disk: made once, by whoever comes first, then read by every run on the machine.

One SQLite file for each settings of an augmenter; in it a variant's key is the hash of what of the request shapes it
(`Augmenter.identity`) and of its number, so pairs that share a text share its variants, and every variant keeps what it
was made from. Several processes fill one file without making anything twice: each claims a batch in one short
transaction, makes it outside any, and writes it and drops the claim in a second (`mars.pool.claims`).

SQLite's rollback journal rather than its write-ahead log, which needs shared memory and so one machine: two commits a
batch cost milliseconds beside what a batch costs to make. What is returned is always read back from the file, so the
first run of a study gets exactly what its repetition gets.

    sqlite3 cache/variants/eda-0123456789abcdef.sqlite "SELECT settings FROM augmenter"
    sqlite3 … "SELECT parent, part, number, operation, CAST(text AS TEXT) FROM variants LIMIT 5"
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence, Set
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mars.augment.variant import Augmenter, Request, Variant
from mars.config import ConfigError, UserError
from mars.files import as_json, digest
from mars.pool import claims
from mars.progress import Progress

log = logging.getLogger(__name__)

# Texts are bytes, because SQLite's own text cannot hold the lone surrogates that scraped dialogues contain.
_TABLES = """
CREATE TABLE IF NOT EXISTS augmenter (name TEXT PRIMARY KEY, settings TEXT);
CREATE TABLE IF NOT EXISTS variants (
    key BLOB PRIMARY KEY, text BLOB, operation TEXT, parameters TEXT,
    parent TEXT, part TEXT, number INTEGER, source BLOB  -- the pair that asked first; blake2b-128 of the text rewritten
);
"""
_JSON = json.JSONEncoder(default=as_json)
_LOOKUP = 500  # keys in one SELECT
_PATIENCE = 60.0  # seconds to wait for another process's transaction
_SLEEPS = (0.05, 2.0)  # first and longest pause between two looks at what others are making


class _Unit(NamedTuple):
    """What is claimed and made as one: a variant, or all those of a text that one pass of the augmenter makes."""

    key: bytes
    requests: list[Request]
    keys: list[bytes]  # of the requests
    wanted: set[bytes]  # those of them that were asked for


class Store:
    """`fill` returns variants, `missing` says what it would have to make. Processes and threads may share a directory.

    `made` and `found` count, since this object exists, variants it made and distinct variants it found on disk.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.made = 0
        self.found = 0
        self._counting = threading.Lock()

    def path(self, augmenter: Augmenter) -> Path:
        """The file that holds what `augmenter` makes with its settings."""
        return self.directory / f"{augmenter.name}-{digest(augmenter.settings)[:16]}.sqlite"

    def missing(self, augmenter: Augmenter, requests: Sequence[Request]) -> list[Request]:
        """Those of `requests` that are not stored yet, each variant once; writes nothing."""
        if not _stored(augmenter):
            return list(requests)
        wanted: dict[bytes, Request] = {}
        for key, request in zip(_keys(augmenter, requests), requests, strict=True):
            wanted.setdefault(key, request)
        stored = _read(self.path(augmenter), list(wanted))
        return [request for key, request in wanted.items() if key not in stored]

    def fill(self, augmenter: Augmenter, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order: read where it is stored, else made and stored.

        An interruption loses at most the batch in hand. Raises ConfigError for a number the augmenter does not reach,
        UserError for a file or directory that cannot be used, and whatever the augmenter raises.
        """
        if not _stored(augmenter):
            with self._counting:
                self.made += len(requests)
            return augmenter.make(requests)
        path, keys = self.path(augmenter), _keys(augmenter, requests)
        variants = _read(path, list(dict.fromkeys(keys)))
        units = _units(augmenter, keys, requests, variants.keys())
        made = self._make(path, augmenter, units) if units else {}
        variants |= made | _read(path, [key for unit in units for key in unit.wanted])  # who stored first counts
        with self._counting:
            self.found += len(variants.keys() - made.keys())
        return [variants[key] for key in keys]

    def _make(self, path: Path, augmenter: Augmenter, units: list[_Unit]) -> dict[bytes, Variant]:
        """Returns once every unit was made, here or by another process: those of the wanted that were made here."""
        _create(path, augmenter)
        batch = max(1, augmenter.batch // augmenter.together)
        queue, made, pause, told = deque(units), dict[bytes, Variant](), _SLEEPS[0], False
        # A text with all its variants, where one pass makes them.
        with Progress(len(units), augmenter.name, "variants" if augmenter.together == 1 else "texts") as progress:
            while queue:
                before = len(queue)
                with _claimed(path, queue, batch) as (owner, mine, others):
                    if mine:
                        variants = _variants(augmenter, mine)
                        _write(path, owner, _rows(mine, variants))
                        with self._counting:
                            self.made += len(variants)
                        made |= {key: variants[key] for unit in mine for key in unit.wanted}
                if len(queue) < before:
                    progress.advance(before - len(queue))
                    pause = _SLEEPS[0]
                    continue
                if not told:
                    log.info("%s: waiting for variants that %s is making", path.name, " and ".join(sorted(others)))
                    told = True
                time.sleep(pause)
                pause = min(2 * pause, _SLEEPS[1])
        return made


@dataclass(frozen=True)
class Supply:
    """One use of an augmenter in a run: the augmenter, and a store that counts what this use makes."""

    augmenter: Augmenter
    store: Store

    def fill(self, requests: Sequence[Request]) -> list[Variant]:
        return self.store.fill(self.augmenter, requests)

    def missing(self, requests: Sequence[Request]) -> list[Request]:
        return self.store.missing(self.augmenter, requests)

    def record(self) -> dict[str, Any]:
        """Whose variants these are, for the manifest."""
        return {"augmenter": self.augmenter.name, "settings": self.augmenter.settings, **self.costs()}

    def costs(self) -> dict[str, Any]:
        """Variants made and found; usage: calls, tokens and cost, where the augmenter counts them."""
        usage = getattr(self.augmenter, "usage", None)
        return {"made": self.store.made, "found": self.store.found, "usage": usage}


def _stored(augmenter: Augmenter) -> bool:
    return getattr(augmenter, "stored", True)


def _key(identity: str, number: int) -> bytes:
    text = f"{identity}\x00{number}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=claims.KEY_BYTES).digest()


def _keys(augmenter: Augmenter, requests: Sequence[Request]) -> list[bytes]:
    if augmenter.together > 1:
        for request in requests:
            if request.number >= augmenter.together:
                raise ConfigError(
                    f"pool.width: variant {request.number + 1} of a text is asked for, and {augmenter.name} returns "
                    f"{augmenter.together} (lower pool.width or raise what the augmenter returns)"
                )
    return [_key(augmenter.identity(request), request.number) for request in requests]


def _units(augmenter: Augmenter, keys: Sequence[bytes], requests: Sequence[Request], stored: Set[bytes]) -> list[_Unit]:
    """What has to be made for the requests that are not stored, in the order in which they were asked for."""
    units: dict[bytes, _Unit] = {}
    for key, request in zip(keys, requests, strict=True):
        if key in stored:
            continue
        if augmenter.together == 1:
            units[key] = _Unit(key, [request], [key], {key})
            continue
        identity, numbers = augmenter.identity(request), range(augmenter.together)
        first = _key(identity, 0)
        if first not in units:
            siblings = [request._replace(number=n) for n in numbers]
            units[first] = _Unit(first, siblings, [_key(identity, n) for n in numbers], set())
        units[first].wanted.add(key)
    return list(units.values())


def _variants(augmenter: Augmenter, units: list[_Unit]) -> dict[bytes, Variant]:
    """Makes the variants of `units`, by key."""
    requests = [request for unit in units for request in unit.requests]
    variants = augmenter.make(requests)
    if len(variants) != len(requests):
        raise UserError(f"augmenter {augmenter.name}: made {len(variants)} variants for {len(requests)} requests")
    return dict(zip((key for unit in units for key in unit.keys), variants, strict=True))


def _rows(units: list[_Unit], variants: dict[bytes, Variant]) -> list[tuple[Any, ...]]:
    """Rows of the table `variants`, one for each that is final."""
    return [
        (
            key,
            None if variants[key].text is None else _encoded(variants[key].text or ""),
            variants[key].operation,
            _JSON.encode(variants[key].parameters),
            request.pair.id.encode("utf-8", "backslashreplace").decode(),  # an id may come from a user's file
            request.part,
            request.number,
            hashlib.blake2b(_encoded(request.source), digest_size=claims.KEY_BYTES).digest(),
        )
        for unit in units
        for key, request in zip(unit.keys, unit.requests, strict=True)
        if variants[key].final
    ]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one short piece of work; what SQLite has against the file becomes one line for the user."""
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
            yield database
    except sqlite3.OperationalError as error:
        hint = "may this user write it, is the disk full, or does another process hold it?"
        raise UserError(f"{path}: {error} ({hint})") from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path}: {error} (delete the file; variants are made again)") from error


def _create(path: Path, augmenter: Augmenter) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: variants cannot be stored here ({error.strerror})") from error
    settings = json.dumps(as_json(augmenter.settings), indent=1, sort_keys=True)
    with _open(path) as database:
        database.executescript(f"BEGIN IMMEDIATE; {_TABLES} {claims.TABLE} COMMIT;")
        database.execute("INSERT OR IGNORE INTO augmenter VALUES (?, ?)", (augmenter.name, settings))


def _read(path: Path, keys: Sequence[bytes]) -> dict[bytes, Variant]:
    """The variants of `keys` that are stored. Never writes, so a cache on a read-only disk can be used."""
    if not keys or not os.path.exists(path):
        return {}
    with _open(path) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'variants'").fetchone():
            return {}  # another process is about to create it
        return {
            key: Variant(None if text is None else text.decode("utf-8", "surrogatepass"), operation, json.loads(given))
            for key, text, operation, given in _select(database, "key, text, operation, parameters", keys)
        }


def _select(database: sqlite3.Connection, columns: str, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(keys), _LOOKUP):
        part = keys[start : start + _LOOKUP]
        marks = ",".join("?" * len(part))
        yield from database.execute(f"SELECT {columns} FROM variants WHERE key IN ({marks})", part)


def _write(path: Path, owner: str, rows: list[tuple[Any, ...]]) -> None:
    """Variants in, claim out, in one transaction. A variant that is there already stays: the first one counts."""
    with _open(path) as database:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT OR IGNORE INTO variants VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        claims.drop(database, owner)
        database.execute("COMMIT")


@contextmanager
def _claimed(path: Path, queue: deque[_Unit], batch: int) -> Iterator[tuple[str, list[_Unit], set[str]]]:
    """(owner, units now claimed in its name, who holds others); what goes wrong inside gives the claim up."""
    owner = uuid.uuid4().hex
    try:
        mine, others = _claim(path, queue, batch, owner)
        with _renewed(path, owner) if mine else nullcontext():
            yield owner, mine, others
    except BaseException:
        with suppress(UserError), _open(path) as database:  # where even this fails, the lease runs out
            claims.drop(database, owner)
        raise


def _claim(path: Path, queue: deque[_Unit], batch: int, owner: str) -> tuple[list[_Unit], set[str]]:
    """Takes up to `batch` units for `owner` out of `queue`, and drops those that are stored by now.

    Units that others are making go to the queue's end; second result: who these others are.
    """
    mine: list[_Unit] = []
    others: set[str] = set()
    unseen = len(queue)
    with _open(path) as database:
        database.execute("BEGIN IMMEDIATE")
        held = claims.held(database)
        while unseen and len(mine) < batch:
            part = [queue.popleft() for _ in range(min(unseen, _LOOKUP, batch - len(mine)))]
            unseen -= len(part)
            wanted = [key for unit in part for key in unit.wanted]
            stored = {key for (key,) in _select(database, "key", wanted)}
            for unit in part:
                if unit.key in held:
                    queue.append(unit)
                    others.add(held[unit.key])
                elif not unit.wanted <= stored:
                    mine.append(unit)
        if mine:
            claims.take(database, owner, [unit.key for unit in mine])
        database.execute("COMMIT")
    return mine, others


@contextmanager
def _renewed(path: Path, owner: str) -> Iterator[None]:
    """Prolongs the owner's lease from a thread, so that a slow batch keeps it and a dead machine loses it soon."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(claims.LEASE / 4):
            with suppress(UserError), _open(path) as database:  # a renewal that fails is tried again
                claims.renew(database, owner)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

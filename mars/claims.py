"""Who is making what: claims in a SQLite file that several processes share.

A claim says which keys its owner is making, so that nobody else makes them. It ends when its owner drops it, with its
owner's process, or with its lease where that process cannot be seen (another machine, a container); so the keys of a
process that was killed are free at once, and those of a machine that lost power are within a lease. Leases go by the
clock of the file system that holds the file, which all its machines share; and as a clock may jump, a process that can
be seen to run keeps what it holds while it prolongs it, and no lease is longer than one from now. One row an owner with
all its keys in it: a claim of thousands costs one insertion.

    claims = Claims(Cache(path, "claims", "owner", TABLE, "claims are made again"))  # after the file's create()
    with claims.claim(free([key_of("mars-s0")])) as claim:
        if claim.keys:  # else claim.others says whose it is
            ...         # the lease is renewed from a thread meanwhile; at the end the claim is dropped
"""

from __future__ import annotations

import hashlib
import os
import platform
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mars.cache import Cache
from mars.config import UserError

TABLE = """
CREATE TABLE IF NOT EXISTS claims (
    owner TEXT PRIMARY KEY, host TEXT, pid INTEGER, born TEXT, expires REAL, keys BLOB  -- one after the other
);
"""
KEY_BYTES = 16
AGREE = 2.0  # seconds by which two clocks may differ that agree: file systems round
LEASE = 120.0  # seconds from the last sign of an owner whose process cannot be seen

_MINE: set[str] = set()  # owners in this process
_RUN_OUT: dict[str, tuple[float, float]] = {}  # owner: the lease that ran out, and when that was seen, monotonic

# (the database inside a transaction, {key: whose it is}) → keys to claim, none of them held
Choose = Callable[[sqlite3.Connection, Mapping[bytes, str]], Sequence[bytes]]


def key_of(text: str) -> bytes:
    """The key of a thing that has a name."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def free(keys: Sequence[bytes]) -> Choose:
    """Chooses those of `keys` that nobody holds."""
    return lambda _, held: [key for key in keys if key not in held]


@dataclass(frozen=True)
class Claim:
    """What one owner holds. `others`: {key that was held by somebody else when it was taken: by whom}."""

    owner: str
    keys: Sequence[bytes]
    others: Mapping[bytes, str]

    def drop(self, database: sqlite3.Connection) -> None:
        """Gives the keys up in a transaction of the caller's, together with what was made of them."""
        _drop(database, self.owner)


class Claims:
    """The claims of one file, whose schema includes TABLE. lease: see LEASE, in seconds."""

    def __init__(self, file: Cache, lease: float = LEASE):
        self.file, self.lease = file, lease

    @contextmanager
    def claim(self, choose: Choose) -> Iterator[Claim]:
        """A claim on what `choose` returns; its lease is renewed until the block ends, and then it is dropped.

        Where even dropping it fails, the lease runs out. Raises UserError for a file that cannot be used.
        """
        owner = uuid.uuid4().hex
        _MINE.add(owner)
        try:
            with self.file.transaction() as database:
                now = self._now()
                held = living(database, now, self.lease)
                keys = choose(database, held)
                if keys:
                    self._insert(database, owner, keys, now)
            if not keys:
                yield Claim(owner, keys, held)
                return
            try:
                with self._renewed(owner, keys):
                    yield Claim(owner, keys, held)
            finally:
                with suppress(UserError), self.file.open() as database:
                    _drop(database, owner)
        finally:
            _MINE.discard(owner)

    @contextmanager
    def _renewed(self, owner: str, keys: Sequence[bytes]) -> Iterator[None]:
        """Prolongs the owner's lease from a thread, so that slow work keeps it and a dead machine loses it soon."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self.lease / 4):
                with suppress(UserError):  # a renewal that fails is tried again
                    self._renew(owner, keys)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _renew(self, owner: str, keys: Sequence[bytes]) -> None:
        """A lease from now on; where file or claim were lost, a new claim, unless somebody else holds a key by now."""
        self.file.create()
        with self.file.transaction() as database:
            now = self._now()
            row = (now + self.lease, owner)
            prolonged = database.execute("UPDATE claims SET expires = ? WHERE owner = ?", row).rowcount
            if not prolonged and living(database, now, self.lease).keys().isdisjoint(keys):
                self._insert(database, owner, keys, now)

    def _insert(self, database: sqlite3.Connection, owner: str, keys: Sequence[bytes], now: float) -> None:
        row = (owner, _host(), os.getpid(), _born(os.getpid()), now + self.lease, b"".join(keys))
        database.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?)", row)

    def _now(self) -> float:
        return shared_time(self.file.path)


def shared_time(file: Path) -> float:
    """Seconds since 1970 by the clock of the file system that holds `file`; this machine's where they agree.

    The file is touched for it. Where that fails it is this machine's too.
    """
    here = time.time()
    try:
        os.utime(file)
        there = file.stat().st_mtime
    except OSError:
        return here
    return there if abs(there - here) > AGREE else here


def living(database: sqlite3.Connection, now: float | None = None, lease: float = LEASE) -> dict[bytes, str]:
    """{key in the hands of the living: whose it is}, after dropping the claims of the dead.

    now: see `shared_time`. A lease that ends later than one from now was given before a clock jumped, and is cut short.
    """
    now = time.time() if now is None else now
    found, dead = _told_apart(database, now)
    for owner in dead:
        _drop(database, owner)
    longest = now + max(lease, LEASE)
    database.execute("UPDATE claims SET expires = ? WHERE expires > ?", (longest, longest + AGREE))
    return found


def in_hand(database: sqlite3.Connection, now: float | None = None) -> dict[bytes, str]:
    """What `living` returns, of a file that is not to be written."""
    return _told_apart(database, time.time() if now is None else now)[0]


def _told_apart(database: sqlite3.Connection, now: float) -> tuple[dict[bytes, str], list[str]]:
    """{key in the hands of the living: whose it is}, and the owners that are dead."""
    found: dict[bytes, str] = {}
    dead = []
    for owner, host, pid, born, expires, keys in database.execute("SELECT * FROM claims").fetchall():
        if _dead(owner, host, pid, born, expires, now):
            dead.append(owner)
            continue
        who = f"process {pid} on {host.partition(' ')[0]}"
        found.update((keys[i : i + KEY_BYTES], who) for i in range(0, len(keys), KEY_BYTES))
    return found, dead


def _dead(owner: str, host: str, pid: int, born: str, expires: float, now: float) -> bool:
    """Whether a claim has ended. A lease that ran out proves nothing of a process of this host that still runs."""
    if host != _host():
        return expires < now
    if not runs(pid, born):
        return True
    if pid == os.getpid():
        return owner not in _MINE  # it could not be dropped
    if expires >= now:
        return False
    # The clock has jumped, and it is prolonged within a quarter of the lease; or it could not be dropped.
    known, since = _RUN_OUT.get(owner, (0.0, 0.0))
    if known != expires:
        known, since = _RUN_OUT[owner] = expires, time.monotonic()
    return time.monotonic() - since > LEASE / 2


def _drop(database: sqlite3.Connection, owner: str) -> None:
    database.execute("DELETE FROM claims WHERE owner = ?", (owner,))


def _host() -> str:
    """The machine and, on Linux, its process namespace: containers may share a name and count processes apart."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def runs(pid: int, born: str) -> bool:
    """Whether the process of this host that was born then still runs; True where that cannot be seen."""
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return _born(pid) in ("", born)


def _born(pid: int) -> str:
    """What tells a process from a later one of its number: its start in clock ticks; "" where that cannot be seen."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "ended" if state in (b"Z", b"X") else fields[18].decode()

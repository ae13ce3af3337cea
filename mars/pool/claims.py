"""Who is making what: claims in a SQLite file that several processes fill.

A claim says which keys its owner is making, so that nobody else makes them. It ends when its owner drops it, with its
owner's process, or with its lease where that process cannot be seen (another machine, a container); so the keys of a
process that was killed are free at once, and those of a machine that lost power are within `LEASE` seconds. One row an
owner with all its keys in it: a claim of thousands costs one insertion.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

TABLE = """
CREATE TABLE IF NOT EXISTS claims (
    owner TEXT PRIMARY KEY, host TEXT, pid INTEGER, born TEXT, expires REAL, keys BLOB  -- one after the other
);
"""
KEY_BYTES = 16
LEASE = 120.0  # seconds from the last sign of an owner whose process cannot be seen


def take(database: sqlite3.Connection, owner: str, keys: Sequence[bytes]) -> None:
    """Claims `keys`; call it in the transaction that found them free."""
    row = (owner, _host(), os.getpid(), _born(os.getpid()), time.time() + LEASE, b"".join(keys))
    database.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?)", row)


def renew(database: sqlite3.Connection, owner: str) -> None:
    database.execute("UPDATE claims SET expires = ? WHERE owner = ?", (time.time() + LEASE, owner))


def drop(database: sqlite3.Connection, owner: str) -> None:
    database.execute("DELETE FROM claims WHERE owner = ?", (owner,))


def held(database: sqlite3.Connection) -> dict[bytes, str]:
    """{key in the hands of the living: whose it is}, after dropping the claims of the dead."""
    found: dict[bytes, str] = {}
    for owner, host, pid, born, expires, keys in database.execute("SELECT * FROM claims").fetchall():
        if expires < time.time() or (host == _host() and not _runs(pid, born)):
            drop(database, owner)
            continue
        who = f"process {pid} on {host.partition(' ')[0]}"
        found.update((keys[i : i + KEY_BYTES], who) for i in range(0, len(keys), KEY_BYTES))
    return found


def _host() -> str:
    """The machine and, on Linux, its process namespace: containers may share a name and count processes apart."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def _runs(pid: int, born: str) -> bool:
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

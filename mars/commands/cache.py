"""What the cache holds, how large it is, and what of it may go.

    mars cache                                   (or: python -m mars.run cache)
    mars cache prune dry_run=true                what would be removed
    mars cache prune older=30 what=features      features that nobody has used for 30 days

Everything in the cache can be made again, at a cost in time; replies of chat models cost money too, so they go only
where they are named (what=replies). What a process has in hand stays: what was used within the last hour, what is
claimed, and a file that is locked. The times are the file system's: where a disk is mounted relatime, as most are, a
file that is only read may seem unused for up to a day, and on one mounted noatime it always does.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mars import claims, files
from mars.cache import default_place, of_layout
from mars.commands.printing import printing
from mars.config import UserError, nearest
from mars.plugins import resolve
from mars.progress import lasting

_FRESH = 3600.0  # seconds: whoever used it since then may still be at work
_DAY = 86_400.0
_LISTED = 8  # entries of a kind, by name
_USAGE = "usage: cache [prune] [cache=DIR] [older=DAYS] [what=KIND,…] [dry_run=true]"
_SUFFIXES = ("", "-journal", "-wal", "-shm")  # of the files that are one SQLite database


class Kind(NamedTuple):
    """Entries of one kind. pattern: of their paths. said: what they are. tables: where those of the files are declared.

    named: they go only where they are asked for by name.
    """

    pattern: str
    said: str
    tables: str = ""
    named: bool = False


KINDS = {
    "features": Kind("features/*.sqlite", "features of texts, of a frozen backbone", "mars.reward.encoder:TABLE"),
    "variants": Kind("variants/*.sqlite", "variants that augmenters made", "mars.pool.store:TABLES"),
    "replies": Kind("replies.sqlite", "replies of chat models, which may have cost money", named=True),
    "candidates": Kind("candidates*.sqlite", "samples of policies", "benchmarks.models.policy:TABLE"),
    "starts": Kind("starts/*.safetensors", "models that the arms of a study start from"),
    "writers": Kind("writers/*/", "tiny causal models"),
    "policies": Kind("policies/*/", "trained policies and their replies"),
    "shards": Kind("shards/*/", "finished parts of work that Ray shared out"),
    "damaged": Kind("", "files that were damaged and moved aside, or left half written"),
}
_MARKS = ("features", "variants", "replies", "candidates", "starts")  # kinds by whose files a cache is known as one


@dataclass(frozen=True)
class Entry:
    """A file or directory of the cache. size: bytes. used: seconds since 1970, when it was last read or written."""

    kind: str
    path: Path
    size: int
    used: float


def entries(place: Path) -> list[Entry]:
    """All that KINDS know in the cache at `place`, the largest of each kind first."""
    found = []
    for name, kind in KINDS.items():
        if not kind.pattern:
            continue
        paths = [path for path in place.glob(kind.pattern) if not files.is_aside(path.name)]
        own = [Entry(name, path, *_measured(path)) for path in paths if path.is_dir() == kind.pattern.endswith("/")]
        found += sorted(own, key=lambda entry: (-entry.size, entry.path))
    return found + [Entry("damaged", path, *_measured(path)) for path in sorted(_damaged(place))]


def _damaged(place: Path) -> Iterator[Path]:
    """What was moved aside or left half written beside the files that KINDS know, and nowhere else."""
    for pattern in {kind.pattern.rstrip("/") for kind in KINDS.values() if kind.pattern}:
        for path in place.glob(f"{pattern}.damaged"):
            yield path
    for folder in {place, *(place / kind.pattern.split("/")[0] for kind in KINDS.values() if "/" in kind.pattern)}:
        for path in folder.glob(".*"):
            if files.is_aside(path.name):
                yield path


def is_cache(place: Path) -> bool:
    """Whether there is a file in `place` by which a cache of mars is known."""
    return any(next(place.glob(KINDS[name].pattern), None) for name in _MARKS)


def _measured(path: Path) -> tuple[int, float]:
    """(bytes, when it was last used) of a file with its journal, or of a directory with all in it."""
    parts = list(path.rglob("*")) if path.is_dir() else [Path(f"{path}{suffix}") for suffix in _SUFFIXES]
    stats = []
    for part in parts:
        with suppress(OSError):  # gone meanwhile
            if not part.is_dir():
                stats.append(part.stat())
    return sum(s.st_size for s in stats), max((max(s.st_atime, s.st_mtime) for s in stats), default=0.0)


@dataclass(frozen=True)
class Rule:
    """What may go. older: days since it was last used. what: kinds; none names all but those that have to be named."""

    older: float = 30.0
    what: tuple[str, ...] = ()

    def why(self, entry: Entry, now: float) -> str:
        """Why an entry may go; "" where it stays. What is in use is looked for by `in_use`."""
        if entry.kind not in (self.what or [name for name, kind in KINDS.items() if not kind.named]):
            return ""
        if entry.kind == "damaged":
            return "damaged or half written"
        if KINDS[entry.kind].tables and _is_foreign(entry):
            return "of another version of mars"
        days = (now - entry.used) / _DAY
        return f"not used for {days:.0f} days" if days >= self.older else ""


def _is_foreign(entry: Entry) -> bool:
    """Whether another version laid it out. Only of a file and the one made beside it can that be."""
    path = entry.path
    beside = len(path.suffixes) > 1 or any(path.parent.glob(f"{path.stem}.*{path.suffix}"))
    if not beside:
        return False
    with _unread(path), suppress(sqlite3.Error):
        return not of_layout(path, resolve(KINDS[entry.kind].tables), table=entry.kind)
    return False


def in_use(entry: Entry, now: float) -> bool:
    """Whether a process may have it in hand."""
    if now - entry.used < _FRESH:
        return True
    if entry.path.suffix == ".sqlite":
        with _unread(entry.path), closing(sqlite3.connect(entry.path, timeout=0)) as database:
            return _is_held(database)
    if entry.kind == "writers" and (told := entry.path.parent / "claims.sqlite").exists():
        with _unread(told), closing(sqlite3.connect(told, timeout=0)) as database:
            return _is_held(database)
    return False


def _is_held(database: sqlite3.Connection) -> bool:
    """Whether somebody writes into it, or claims what is to be written into it. What is no database is nobody's."""
    try:
        database.execute("BEGIN EXCLUSIVE")
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        return "claims" in tables and bool(claims.in_hand(database))
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False


@contextmanager
def _unread(path: Path) -> Iterator[None]:
    """Afterwards the file's times are what they were, so that a look at it is no use of it."""
    before = path.stat()
    try:
        yield
    finally:
        with suppress(OSError):
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def contents(place: Path, now: float) -> Iterator[str]:
    """Lines that say what the cache at `place` holds."""
    found = entries(place)
    total = sum(entry.size for entry in found)
    yield f"{place}: {files.size(total)} (cache=DIR or the variable MARS_CACHE names another place)"
    if not found:
        yield "it is empty"
    for name, kind in KINDS.items():
        own = [entry for entry in found if entry.kind == name]
        if not own:
            continue
        yield f"{name:<11}{files.size(sum(entry.size for entry in own)):>9}  {kind.said}"
        for entry in own[:_LISTED]:
            yield f"{files.size(entry.size):>20}  {entry.path.relative_to(place)}, last used {_ago(now - entry.used)}"
        if len(own) > _LISTED:
            yield f"{'':>20}  and {len(own) - _LISTED} more"


def prune(place: Path, rule: Rule, now: float, remove: Callable[[Entry], None] | None) -> Iterator[str]:
    """Lines that say what goes, after it went. remove: None only says what would go."""
    gone, kept = 0, 0
    verb = "removed" if remove else "would be removed"
    for entry in entries(place):
        if not (why := rule.why(entry, now)):
            continue
        name = entry.path.relative_to(place)
        if in_use(entry, now):
            yield f"stays, may be in use: {name} ({why})"
            kept += 1
            continue
        if remove:
            remove(entry)
        gone += entry.size
        yield f"{verb}: {name}, {files.size(entry.size)}: {why}"
    freed = f"{files.size(gone)} {'freed' if remove else 'would be freed'}"
    yield f"{place}: {freed}" + (f", {kept} in use" if kept else "")


def delete(entry: Entry) -> None:
    """Removes it, a database with its journal. Raises UserError where the system does not let it."""
    try:
        if entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path)
        else:
            for suffix in _SUFFIXES:
                Path(f"{entry.path}{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{entry.path}: cannot be removed: {files.words(error)} ({files.mending(error)})") from error


def _ago(seconds: float) -> str:
    return f"{seconds / _DAY:.0f} days ago" if seconds >= 2 * _DAY else f"{lasting(max(0.0, seconds))} ago"


class _Asked(NamedTuple):
    place: Path
    rule: Rule | None  # None: to list
    dry_run: bool


def _arguments(given: Sequence[str]) -> _Asked:
    """What the command line asks for. Raises UserError for what it cannot mean."""
    words = [one for one in given if "=" not in one]
    values = dict(one.split("=", 1) for one in given if "=" in one)
    if words not in ([], ["prune"]):
        raise UserError(_USAGE)
    known = ("cache", "older", "what", "dry_run") if words else ("cache",)
    if unknown := next((key for key in values if key not in known), ""):
        raise UserError(f"{unknown}: no such setting{nearest(unknown, known)} ({_USAGE})")
    place = Path(values["cache"]).expanduser() if "cache" in values else default_place()
    if not words:
        return _Asked(place, None, False)
    what = tuple(filter(None, values.get("what", "").split(",")))
    if wrong := next((kind for kind in what if kind not in KINDS), ""):
        raise UserError(f"what: {wrong} is nothing that is cached{nearest(wrong, KINDS)} (known: {', '.join(KINDS)})")
    older, dry_run = values.get("older", "30"), values.get("dry_run", "false").lower()
    if not older.replace(".", "", 1).isdecimal():
        raise UserError(f"older: must be a number of days, not {older}")
    if dry_run not in ("true", "false"):
        raise UserError(f"dry_run: must be true or false, not {dry_run}")
    return _Asked(place, Rule(float(older), what), dry_run == "true")


def _lines(arguments: Sequence[str]) -> Iterable[str]:
    """Of `cache [prune]`."""
    asked, now = _arguments(arguments), time.time()
    if asked.place.exists() and not asked.place.is_dir():
        raise UserError(f"cache: {asked.place} is no directory")
    if asked.rule and not is_cache(asked.place):
        raise UserError(f"cache: {asked.place} holds no features, variants, replies or starts of mars")
    if asked.rule is None:
        return contents(asked.place, now)
    return prune(asked.place, asked.rule, now, None if asked.dry_run else delete)


main = printing(_lines, __doc__)

"""Variants on disk: made once, by whoever comes first, then read by every run on the machine.

One SQLite file for each settings of an augmenter; in it a variant's key is the hash of what of the request shapes it
(`Augmenter.identity`) and of its number, so pairs that share a text share its variants, and every variant keeps what it
was made from. Several processes fill one file without making anything twice: each claims a batch in one short
transaction, makes it outside any, and writes it and drops the claim in a second (`mars.claims`): two commits a batch
cost milliseconds beside what a batch costs to make. What is returned is always read back from the file, so the first
run of a study gets exactly what its repetition gets.

    sqlite3 cache/variants/eda-0123456789abcdef.sqlite "SELECT settings FROM augmenter"
    sqlite3 … "SELECT parent, part, number, operation, CAST(text AS TEXT) FROM variants LIMIT 5"
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mars import claims
from mars.augment.variant import Augmenter, Request, Variant
from mars.cache import Cache, Damaged
from mars.config import ConfigError, UserError
from mars.each_once import each_once
from mars.files import as_json, digest
from mars.progress import Progress

# Texts are bytes, because SQLite's own text cannot hold the lone surrogates that scraped dialogues contain.
TABLES = f"""
CREATE TABLE IF NOT EXISTS augmenter (name TEXT PRIMARY KEY, settings TEXT);
CREATE TABLE IF NOT EXISTS variants (
    key BLOB PRIMARY KEY, text BLOB, operation TEXT, parameters TEXT,
    parent TEXT, part TEXT, number INTEGER, source BLOB  -- the pair that asked first; blake2b-128 of the text rewritten
);
{claims.TABLE}"""
_JSON = json.JSONEncoder(default=as_json)


class _Unit(NamedTuple):
    """What is claimed and made as one: a variant, or all those of a text that one pass of the augmenter makes."""

    key: bytes
    requests: list[Request]
    keys: list[bytes]  # of the requests
    wanted: set[bytes]  # those of them that were asked for
    size: int = 1


class Store:
    """`fill` returns variants, `missing` says what it would have to make. Processes and threads may share a directory.

    `made` and `found` count, since this object exists, variants it made and distinct variants it found on disk.
    lease: seconds after which what another machine had in hand is made here, should it have died.
    """

    def __init__(self, directory: Path, lease: float = claims.LEASE):
        self.directory, self.lease = directory, lease
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
        stored = _read(self._file(augmenter), list(wanted))
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
        try:
            return self._filled(augmenter, requests)
        except Damaged:  # and out of the way by now
            return self._filled(augmenter, requests)

    def _filled(self, augmenter: Augmenter, requests: Sequence[Request]) -> list[Variant]:
        file, keys = self._file(augmenter), _keys(augmenter, requests)
        variants, made = _read(file, list(dict.fromkeys(keys))), dict[bytes, Variant]()
        while units := _units(augmenter, keys, requests, variants.keys()):  # again where the file was lost meanwhile
            made |= self._make(file, augmenter, units)
            variants |= made | _read(file, [key for unit in units for key in unit.wanted])  # who stored first counts
        with self._counting:
            self.found += len(variants.keys() - made.keys())
        return [variants[key] for key in keys]

    def _file(self, augmenter: Augmenter) -> Cache:
        return Cache(self.path(augmenter), "variants", "key", TABLES, "variants are made again")

    def _make(self, file: Cache, augmenter: Augmenter, units: list[_Unit]) -> dict[bytes, Variant]:
        """Returns once every unit was made, here or by another process: those of the wanted that were made here."""
        file.create()
        _describe(file, augmenter)
        made = dict[bytes, Variant]()

        def make(mine: Sequence[_Unit], claim: claims.Claim) -> None:
            variants = _variants(augmenter, mine)
            _write(file, claim, _rows(mine, variants))
            with self._counting:
                self.made += len(variants)
            made.update((key, variants[key]) for unit in mine for key in unit.wanted)

        batch = max(1, augmenter.batch // augmenter.together)
        # A text with all its variants, where one pass makes them.
        unit = "variants" if augmenter.together == 1 else "texts"
        with Progress(len(units), augmenter.name, unit) as progress:
            for gone in each_once(claims.Claims(file, self.lease), units, batch, make, "variants"):
                progress.advance(gone)
        return made


@dataclass(frozen=True)
class Supply:
    """One use of an augmenter in a run: the augmenter, and a store that counts what this use makes."""

    augmenter: Augmenter
    store: Store

    def fill(self, requests: Sequence[Request]) -> list[Variant]:
        """See `Store.fill`."""
        return self.store.fill(self.augmenter, requests)

    def missing(self, requests: Sequence[Request]) -> list[Request]:
        """See `Store.missing`."""
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
    return claims.key_of(f"{identity}\x00{number}")


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


def _variants(augmenter: Augmenter, units: Sequence[_Unit]) -> dict[bytes, Variant]:
    """Makes the variants of `units`, by key."""
    requests = [request for unit in units for request in unit.requests]
    variants = augmenter.make(requests)
    if len(variants) != len(requests):
        raise UserError(f"augmenter {augmenter.name}: made {len(variants)} variants for {len(requests)} requests")
    return dict(zip((key for unit in units for key in unit.keys), variants, strict=True))


def _rows(units: Sequence[_Unit], variants: dict[bytes, Variant]) -> list[tuple[Any, ...]]:
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
            claims.key_of(request.source),
        )
        for unit in units
        for key, request in zip(unit.keys, unit.requests, strict=True)
        if variants[key].final
    ]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _describe(file: Cache, augmenter: Augmenter) -> None:
    settings = json.dumps(as_json(augmenter.settings), indent=1, sort_keys=True)
    with file.open() as database:
        database.execute("INSERT OR IGNORE INTO augmenter VALUES (?, ?)", (augmenter.name, settings))


def _read(file: Cache, keys: Sequence[bytes]) -> dict[bytes, Variant]:
    """The variants of `keys` that are stored. Never writes, so a cache on a read-only disk can be used."""
    rows = file.read("key, text, operation, parameters", keys)
    try:
        return {
            key: Variant(None if text is None else text.decode("utf-8", "surrogatepass"), operation, json.loads(given))
            for key, text, operation, given in rows
        }
    except (ValueError, TypeError, AttributeError):
        file.refuse("holds rows that are no variants")
        return {}


def _write(file: Cache, claim: claims.Claim, rows: list[tuple[Any, ...]]) -> None:
    """Variants in, claim out, in one transaction. A variant that is there already stays: the first one counts."""
    with file.transaction() as database:
        file.add(database, rows)
        claim.drop(database)

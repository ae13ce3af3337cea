"""What several processes want is made once: each claims a part, makes it, and waits for what others have in hand.

for gone in each_once(Claims(cache), todo, most=100, make=make, what="variants"):
    progress.advance(gone)  # in the end all of `todo` was stored, by whomever
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

from mars.cache import LOOKUP, Cache
from mars.claims import Claim, Claims

log = logging.getLogger(__name__)

_SLEEPS = (0.05, 0.5)  # first and longest pause between two looks at what others are making


class Thing(Protocol):
    """What is claimed and made as one."""

    @property
    def key(self) -> bytes:
        """Under which it is claimed, of `mars.claims.KEY_BYTES` bytes."""
        ...

    @property
    def wanted(self) -> Collection[bytes]:
        """Keys of the rows that are stored once it is made."""
        ...

    @property
    def size(self) -> int:
        """How much work it is, in the unit of `most`; at least 1."""
        ...


T = TypeVar("T", bound=Thing)


def each_once(
    owners: Claims, todo: Sequence[T], most: int, make: Callable[[Sequence[T], Claim], None], what: str
) -> Iterator[int]:
    """Has each of `todo` made, here or by another process that wants it too; yields the size of what was done.

    make: gets things of up to `most` by size, at least one, in the order of `todo`; it stores their rows, and may drop
    the claim in the same transaction. what: these things in the plural, for the log line that names whom this waits
    for. Raises what `make` raises, and UserError for a file that cannot be used.
    """
    queue = _Queue(owners.file, todo, most)
    pause, told = _SLEEPS[0], False
    while queue.todo:
        before = queue.size
        with owners.claim(queue.take) as claim:
            if queue.taken:
                make(queue.taken, claim)
        if queue.size < before:
            yield before - queue.size
            pause = _SLEEPS[0]
            continue
        if not told:
            others = " and ".join(sorted({claim.others[thing.key] for thing in queue.todo}))
            log.info("%s: waiting for %s that %s is making", owners.file.path.name, what, others)
            told = True
        time.sleep(pause)
        pause = min(2 * pause, _SLEEPS[1])


class _Queue(Generic[T]):
    """Things still to be made, here or by others. `size`: of all of them. `taken`: those of the latest claim."""

    def __init__(self, file: Cache, todo: Sequence[T], most: int):
        self.file, self.todo, self.most = file, deque(todo), most
        self.size = sum(thing.size for thing in todo)
        self.taken: list[T] = []

    def take(self, database: sqlite3.Connection, held: Mapping[bytes, str]) -> list[bytes]:
        """Takes up to `most` out of the queue, one thing at least: the keys. Drops what is stored by now.

        What others are making goes to the queue's end.
        """
        self.taken = []
        unseen, room = len(self.todo), self.most
        while unseen and room > 0:
            part = list(islice(self.todo, min(unseen, LOOKUP, room)))
            stored = {key for (key,) in self.file.select(database, self.file.key, [k for t in part for k in t.wanted])}
            for thing in part:
                if thing.key not in held and not stored.issuperset(thing.wanted):
                    if self.taken and thing.size > room:
                        return [thing.key for thing in self.taken]
                    self.taken.append(thing)
                    room -= thing.size
                unseen -= 1
                self.todo.popleft()
                if thing.key in held:
                    self.todo.append(thing)
                else:
                    self.size -= thing.size
        return [thing.key for thing in self.taken]

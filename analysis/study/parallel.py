"""What a study or its report is made of, made on all cores: runs, tables and figures do not depend on each other.

Processes are forked, so that each has what is there without a copy being sent. Each takes the next piece as soon as it
is done with one, and what it made is taken off its hands at once: one is not held up by another. Where there is no
fork, or one core, the pieces are made here.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

from mars.process import machine

S = TypeVar("S")
T = TypeVar("T")
_PLACE = 4  # bytes of a piece's number
_MOST = 1024  # pieces: their numbers fit into a pipe however small, a page


def made(make: Callable[[S], T], pieces: Sequence[S], processes: int | None = None) -> list[T]:
    """`make(piece)` of each of `pieces`, in their order. processes: as many as there are cores where it is not given.

    What a process does not come to, because it died or `make` raised, is made here. So is all of more than _MOST.
    """
    count = min(processes or machine.cores(), len(pieces))
    able = "fork" in multiprocessing.get_all_start_methods() and not multiprocessing.current_process().daemon
    if count < 2 or not able or len(pieces) > _MOST:
        return [make(piece) for piece in pieces]
    found: dict[int, T] = {}
    with _numbers(len(pieces)) as waiting, _others(make, pieces, waiting, found, count - 1):
        found.update((place, make(pieces[place])) for place in _taken(waiting))
    return [found[place] if place in found else make(piece) for place, piece in enumerate(pieces)]


@contextmanager
def _numbers(count: int) -> Iterator[int]:
    """The reading end of a pipe that holds 0 to `count` − 1: several processes take them without waiting for a lock."""
    waiting, given = os.pipe()
    try:
        os.write(given, b"".join(place.to_bytes(_PLACE, "little") for place in range(count)))
        os.close(given)
        yield waiting
    finally:
        os.close(waiting)


def _taken(waiting: int) -> Iterator[int]:
    """The numbers that no other process has taken, one at a time."""
    while number := os.read(waiting, _PLACE):
        yield int.from_bytes(number, "little")


@contextmanager
def _others(
    make: Callable[[S], T], pieces: Sequence[S], waiting: int, found: dict[int, T], count: int
) -> Iterator[None]:
    """Inside, `count` processes make pieces too; at its end all that they made is in `found`."""
    context = multiprocessing.get_context("fork")
    pipes, children = [], []
    for _ in range(count):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_make_some, args=(make, pieces, waiting, theirs), daemon=True)
        child.start()
        theirs.close()  # so that the end of the child is the end of the pipe
        pipes.append(ours)
        children.append(child)
    listeners = [threading.Thread(target=listen, args=(pipe, found), daemon=True) for pipe in pipes]
    for listener in listeners:
        listener.start()
    try:
        yield
        for listener in listeners:
            listener.join()
    finally:
        for child in children:
            child.kill()  # not SIGTERM, for which it may have inherited a handler
            child.join()
        for listener, pipe in zip(listeners, pipes, strict=True):
            listener.join()
            pipe.close()


def listen(pipe: Connection, found: dict[int, T]) -> None:
    """A process whose pipe is full would wait: what it sends is taken as it comes, until it ends or dies."""
    try:
        while True:
            place, piece = pipe.recv()
            found[place] = piece
    except (EOFError, OSError):  # OSError: it died within a message
        pass


def _make_some(make: Callable[[S], T], pieces: Sequence[S], waiting: int, pipe: Connection) -> None:
    """In the child: the first that fails is the last, and fails again where it is heard of."""
    try:
        for place in _taken(waiting):
            pipe.send((place, make(pieces[place])))
    except (Exception, KeyboardInterrupt):
        pipe.close()

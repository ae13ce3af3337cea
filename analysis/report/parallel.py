"""What a report is made of, made on all cores: tables and figures do not depend on each other.

Processes are forked, so that each has the study without a copy being sent. Where there is no fork, or one core, the
parts are made here.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

from mars import machine

T = TypeVar("T")


def made(make: Callable[[str], T], names: Sequence[str], processes: int | None = None) -> list[T]:
    """`make(name)` of each of `names`, in their order. processes: as many as there are cores where it is not given.

    What a process does not come to, because it died or `make` raised, is made here.
    """
    count = min(processes or machine.cores(), len(names))
    able = "fork" in multiprocessing.get_all_start_methods() and not multiprocessing.current_process().daemon
    if count < 2 or not able:
        return [make(name) for name in names]
    shares = [names[first::count] for first in range(count)]
    found: dict[str, T] = {}
    with _forked(make, shares[1:]) as pipes:
        found.update((name, make(name)) for name in shares[0])
        for share, pipe in zip(shares[1:], pipes, strict=True):
            for name in share:
                try:
                    found[name] = pipe.recv()
                except (EOFError, OSError):  # OSError: it died within a message
                    found[name] = make(name)
    return [found[name] for name in names]


@contextmanager
def _forked(make: Callable[[str], T], shares: Sequence[Sequence[str]]) -> Iterator[list[Connection]]:
    """Inside, a process makes each of `shares`; its pipe has one thing after the other."""
    context = multiprocessing.get_context("fork")
    pipes, children = [], []
    for share in shares:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_make_all, args=(make, share, theirs), daemon=True)
        child.start()
        theirs.close()  # so that the end of the child is the end of the pipe
        pipes.append(ours)
        children.append(child)
    try:
        yield pipes
    finally:
        for pipe, child in zip(pipes, children, strict=True):
            pipe.close()
            child.kill()  # not SIGTERM, for which it may have inherited a handler
            child.join()


def _make_all(make: Callable[[str], T], share: Sequence[str], pipe: Connection) -> None:
    """In the child: the first that fails is the last, and fails again where it is heard of."""
    try:
        for name in share:
            pipe.send(make(name))
    except (Exception, KeyboardInterrupt):
        pipe.close()

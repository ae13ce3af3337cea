"""Whoever reads what a command prints may stop reading, as in `mars cache | head`: that is no mistake."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def may_leave() -> Iterator[None]:
    """Inside, a reader of standard output that leaves ends the work, and nothing is said of it.

    Another pipe that breaks, to a process or a service, raises BrokenPipeError as ever.
    """
    try:
        yield
    except BrokenPipeError:
        if not _has_left():
            raise
    finally:
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        if _has_left():  # and Python writes what it still holds as the process ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _has_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    try:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # no file of the system: a test's, a notebook's
        return False
    return any(event & select.POLLERR for _, event in output.poll(0))

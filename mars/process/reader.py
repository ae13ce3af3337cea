"""Whoever reads what a command prints may stop reading, as in `mars cache | head`: that is no mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def may_leave() -> Iterator[None]:
    """Inside, a reader of standard output that leaves ends the work, and nothing is said of it."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # which is flushed again as the process ends

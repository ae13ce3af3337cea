"""A reader that leaves ends a command without a word."""

from __future__ import annotations

import os
import sys

import pytest

from mars.process import reader


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_is_no_mistake(lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few lines are written as the work ends, many while it goes on."""
    read, written = os.pipe()
    os.close(read)
    reached = []
    with os.fdopen(written, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with reader.may_leave():
            for _ in range(lines):
                print("a line of what nobody reads")
            reached.append("the end")
        print("what is flushed as the process ends", flush=True)
    assert bool(reached) == (lines == 1)

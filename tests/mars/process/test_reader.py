"""A reader that leaves ends a command without a word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_another_pipe_that_breaks_is_heard_of() -> None:
    with pytest.raises(BrokenPipeError), reader.may_leave():
        raise BrokenPipeError("of a worker that died")


def test_a_command_that_prints_much_ends_in_silence(tmp_path: Path) -> None:
    """Its own mistakes are one line each, and this is none."""
    code = "from mars.cli import command; command('report', lambda cfg: print('a line\\n' * 100_000))()"
    asked = [sys.executable, "-c", code, "study=none"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        assert done.stdout.readline() == "a line\n"
        done.stdout.close()
        assert done.stderr.read() == ""
        assert done.wait() == 0

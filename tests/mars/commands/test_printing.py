"""Lines as they come, whatever the terminal can show; a mistake and Ctrl-C end a command without a traceback."""

import io
import sys
from collections.abc import Iterator, Sequence

import pytest
from support.commands import run_here

from mars.commands.printing import printing
from mars.config import UserError


def _lines(arguments: Sequence[str]) -> Iterator[str]:
    yield f"asked for {', '.join(arguments)}"
    if "stopped" in arguments:
        raise KeyboardInterrupt
    if "wrong" in arguments:
        raise UserError("it is wrong (make it right)")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["this", "that"], 0, ""), (["wrong"], 1, "error: it is wrong (make it right)\n"), (["stopped"], 130, "")],
)
def test_what_came_before_the_end_is_printed(arguments: list[str], code: int, said: str) -> None:
    done = run_here(printing(_lines, "what it does"), *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (code, f"asked for {', '.join(arguments)}\n", said)


def test_help_is_what_the_module_says() -> None:
    assert run_here(printing(_lines, "what it does"), "wrong", "--help").stdout == "what it does\n"


def test_a_terminal_need_not_have_every_character(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    terminal = io.TextIOWrapper(shown, "ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["command", "a → b"])
        patch.setattr(sys, "stdout", terminal)
        printing(_lines, None)()
    assert shown.getvalue() == b"asked for a ? b\n"

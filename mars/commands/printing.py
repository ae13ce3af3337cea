"""How a command without a config is called: `--help`, lines that are printed as they come, a mistake as one line."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence

from mars.config import UserError


def printing(lines: Callable[[Sequence[str]], Iterable[str]], help_text: str | None) -> Callable[[], None]:
    """The entry point of a command that prints `lines(arguments)`. A UserError is one line, and exit code 1."""

    def main() -> None:
        if "--help" in sys.argv:
            print(help_text)
            return
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal need not have every character of the data
        try:
            for line in lines(sys.argv[1:]):
                print(line, flush=True)
        except UserError as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit(130)

    return main

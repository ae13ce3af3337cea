"""What a shell completes after `mars`: Hydra knows the keys and choices of a run, here sub-commands are added.

    eval "$(mars -sc install=bash)"              # fish: mars -sc install=fish | source

The shell asks with `mars -sc query=SHELL` and hands the line typed so far in COMP_LINE. A sub-command is taken out of
that line before Hydra sees it, and its own settings are completed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources

from mars.plugins import resolve


def answered(arguments: Sequence[str], commands: Mapping[str, str]) -> bool:
    """Whether a shell's question was about a sub-command, and so was answered here; else Hydra has to.

    arguments: of the command line. commands: {sub-command: its module}.
    """
    if len(arguments) != 2 or arguments[0] != "-sc" or not arguments[1].startswith("query="):
        return False
    line = os.environ.get("COMP_LINE", "")
    name, *others = line.split()[1:] or [""]
    if not others and (not name or not line.endswith(" ")):
        typed = [command.replace("_", "-") for command in commands]
        print("\n".join(command for command in typed if command.startswith(name)))
        return False  # it may become a key too
    command = name.replace("-", "_")
    if command not in commands:
        return False
    if (resources.files("conf") / f"{command}.yaml").is_file():
        os.environ["COMP_LINE"] = line.replace(f" {name}", "", 1)
        resolve(f"{commands[command]}:main")()
    return True  # of the others only paths are completed, which the shell does

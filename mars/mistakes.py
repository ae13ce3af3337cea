"""A user's mistake as one line: Hydra's and OmegaConf's errors reworded where they name a key or a choice."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Mapping
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mars import files
from mars.composition import composition, key_of, options
from mars.config import UserError, nearest
from mars.launch import jobs

# What a user can cause and mend: settings and data, and files, folders and disks that cannot be used.
MISTAKES = (UserError, HydraException, OmegaConfBaseException, OSError, sqlite3.Error)
LACKING = {  # a choice that an extra brings: what to do where it is not there
    "submitit_slurm": "slurm needs hydra-submitit-launcher (pip install 'mars-reward[slurm]')",
}
_NULL_GROUP = "Config group override"  # begins Hydra's ValueError for semantic=null


def is_mistake(error: BaseException) -> bool:
    """Whether a user can mend it."""
    return isinstance(error, MISTAKES) or str(error).startswith(_NULL_GROUP)


def one_line(error: Exception, config_name: str) -> str:
    """The cause of a mistake under conf/`config_name`.yaml."""
    text = str(error)
    if isinstance(error, UserError):
        return " ".join(text.split("\n"))
    if isinstance(error, OSError) and error.errno:
        return files.told(error)
    if text.startswith(_NULL_GROUP):
        return "a config group was set to null (name one of its choices)"
    causes = text + "\n" + str(error.__cause__ or "")
    if match := re.search(r"Could not override '([^']+)'", causes):
        key = match.group(1)
        if key.startswith("hydra."):
            return f"{key}: no such setting{nearest(key, _known_keys(config_name, of_hydra=True))}"
        group = key.split(".")[0]
        if "." not in key and key in _known_keys(config_name):
            return f"{key}: is chosen for runs, and not here"
        if having := jobs.choices_with(key, options(group)):
            chosen = [argument for argument in sys.argv[1:] if argument.startswith(f"{group}=")]
            return f"{key}: not a setting of {(chosen or [f'this {group}'])[-1]}, but of {', '.join(having)}"
        known = _known_keys(config_name)
        near = [k for k in known if k.split(".")[0] == key.split(".")[0]] or [k for k in known if "." not in k]
        return f"{key}: no such setting{nearest(key, near)}"
    if match := re.search(r"(?:Could not find|In '[^']*': Could not find|Could not load) '([\w/-]+)/([^'/]*)'", causes):
        group, name = match.groups()
        if name in LACKING:
            return f"{group}: {LACKING[name]}"
        return f'{group}: "{name}" is unknown{nearest(name, options(group))}'
    if match := re.search(r"Ambiguous value for argument '([^']*)'", causes):
        return f"{match.group(1)}: several values make a sweep (add -m)"
    if match := re.search(r"You must specify '([^']+)'", causes):
        group = match.group(1)
        return f"{group}: is required (known: {', '.join(options(group))})"
    if match := re.search(r"Error parsing override '([^']*)'", causes):
        return f"{match.group(1)}: cannot be read as key=value"
    if match := re.search(r"raised while resolving interpolation: (.*)\s+full_key: (\S+)", causes):
        return f"{match.group(2)}: {match.group(1)}"
    if match := re.search(r"Missing mandatory value: \S+\s+full_key: (\S+)", causes):
        return f"{match.group(1)}: is required (give it as {match.group(1)}=…)"
    return " ".join(causes.split())


def _compose(config_name: str, of_hydra: bool = False) -> DictConfig:
    """The config under the group choices of the command line, or if these do not compose the default one.

    of_hydra: with Hydra's own settings.
    """
    choices = [a for a in sys.argv[1:] if re.fullmatch(r"[\w/]+(@[\w.]+)?=[\w-]+", a)]
    try:
        return composition(config_name, [choice for choice in choices if options(key_of(choice))], of_hydra)
    except HydraException:
        return composition(config_name, with_hydra=of_hydra)


def _known_keys(config_name: str, of_hydra: bool = False) -> list[str]:
    """Dotted keys of the default config, leaves and groups."""

    def walk(node: Mapping[Any, Any], path: str) -> list[str]:
        keys = []
        for key, value in node.items():
            keys.append(f"{path}{key}")
            if isinstance(value, Mapping):
                keys += walk(value, f"{path}{key}.")
        return keys

    plain = OmegaConf.to_container(_compose(config_name, of_hydra), resolve=False)
    return walk(plain, "") if isinstance(plain, Mapping) else []

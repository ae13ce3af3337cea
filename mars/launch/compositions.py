"""Compositions of a config kept by their choices: Hydra takes a tenth of a second for each, a copy a fortieth of that.

What a choice brings along, Hydra alone knows. A plain setting (`rounds.number=3`) is put into a copy of what the other
overrides compose to, as Hydra does at last.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

PLAIN = re.compile(r"(\w+(?:\.\w+)*)=")  # key=value, without + ++ ~ or @


def key_of(override: str) -> str:
    """What an override is about, without the package that a group is put into."""
    return re.split("[@=]", override)[0].lstrip("+~")


class Compositions:
    """compose: overrides to a config, as Hydra has it. is_group: whether a key is a config group with choices."""

    def __init__(self, compose: Callable[[list[str]], DictConfig], is_group: Callable[[str], bool]):
        self._compose, self._is_group = compose, is_group
        self._parse = OverridesParser.create().parse_overrides
        self._made: dict[tuple[str, ...], DictConfig] = {}

    def of(self, overrides: Sequence[str]) -> DictConfig:
        """A config of the caller's own. Raises what Hydra raises for overrides that do not compose."""
        plain = [one for one in overrides if PLAIN.match(one) and not self._is_group(key_of(one))]
        alike = tuple(one for one in overrides if one not in plain)
        if alike not in self._made:
            self._made[alike] = self._compose(list(alike))
        config = copy.deepcopy(self._made[alike])
        ConfigLoaderImpl._apply_overrides_to_config(self._parse(plain), config)
        return config

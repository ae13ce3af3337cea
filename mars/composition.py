"""Configs composed of the files in conf/, each set of choices once a process.

Hydra takes a tenth of a second to put twenty files together, and a hundredth of that for a setting such as `seed=1`.
So choices (`method=uniform`) make a config that is kept, and settings go into a copy of it, by Hydra's own function.
What else an override may be (`+key=…`, `~key`, a sweep, a setting of Hydra) goes the whole way.

    composition("config", ["method=uniform", "seed=1"]).seed                                         # 1
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Sequence

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig

from mars.plugins import declared

_SETTING = re.compile(r"(\w+(?:\.\w+)*)=")  # key=value, without + ++ ~ or @
parse = OverridesParser.create().parse_overrides


def composition(config_name: str, overrides: Sequence[str] = (), with_hydra: bool = False) -> DictConfig:
    """conf/`config_name`.yaml under `overrides`, not resolved. with_hydra: with the settings of Hydra that it chooses.

    Raises what `hydra.compose` does.
    """
    packages = tuple(point.value for point in declared("mars.conf").values())
    parsed = parse(list(overrides))
    choices: list[Override] = []
    settings: list[Override] = []
    for one in parsed:
        of_group = not isinstance(one.value(), dict) and _is_group(one.key_or_group, packages)
        (choices if of_group else settings).append(one)
    if any(one.is_sweep_override() for one in parsed) or not all(map(_is_plain, settings)):
        return _composed(config_name, tuple(overrides), with_hydra)
    kept = _kept(config_name, tuple(str(one.input_line) for one in choices), with_hydra, packages)
    return with_settings(kept, settings)


def with_settings(config: DictConfig, settings: Sequence[Override]) -> DictConfig:
    """A copy of `config` under overrides of the form `key=value`. Raises Hydra's error for a key that is not there."""
    config = copy.deepcopy(config)
    ConfigLoaderImpl._apply_overrides_to_config(list(settings), config)
    return config


def setting(override: str) -> str | None:
    """The key of a `key=value`, which may be a group; None where something is added, taken away or put elsewhere."""
    found = _SETTING.match(override)
    return found and found[1]


def key_of(override: str) -> str:
    """What an override is about, without the package that a group is put into."""
    return re.split("[@=]", override)[0].lstrip("+~")


def options(group: str) -> list[str]:
    """The choices of a config group, those of installed plug-ins included; none of what is no group."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        return sorted(GlobalHydra.instance().config_loader().get_group_options(group))


def _composed(config_name: str, overrides: tuple[str, ...], with_hydra: bool) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        return hydra.compose(config_name, list(overrides), return_hydra_config=with_hydra)


@functools.cache
def _kept(config_name: str, choices: tuple[str, ...], with_hydra: bool, packages: tuple[str, ...]) -> DictConfig:
    """packages: the config packages of plug-ins that are installed."""
    return _composed(config_name, choices, with_hydra)


def _is_plain(override: Override) -> bool:
    """Whether it is `key=value`, in its place in the order of a config that is composed already."""
    return override.type == OverrideType.CHANGE and override.package is None and not override.is_hydra_override()


@functools.cache
def _is_group(key: str, packages: tuple[str, ...]) -> bool:
    return bool(options(key))

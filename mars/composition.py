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
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from mars.config import ConfigError
from mars.plugins import declared

# `${scaled:FULL,TINY}` in a config: what stands there at full size, and what under scale=tiny.
OmegaConf.register_new_resolver(
    "scaled", lambda full, tiny, *, _root_: tiny if _root_.scale == "tiny" else full, replace=True
)


def _times(factor: int, count: int | None) -> int:
    """`${times:2,${dataset.size}}` in a config: twice as many."""
    if count is None:
        raise ConfigError("is a multiple of what is null (give numbers for both, as dataset.size and rounds.budget)")
    return factor * count


OmegaConf.register_new_resolver("times", _times, replace=True)


class _ReadOnce(ImportlibResourcesConfigSource):
    """Config files of a package, each parsed once: a sweep composes the same twenty for every job."""

    @staticmethod
    def scheme() -> str:
        return "once"

    def load_config(self, config_path: str) -> ConfigResult:
        key = self.path, config_path
        if key not in _PARSED:
            _PARSED[key] = super().load_config(config_path)
        return copy.deepcopy(_PARSED[key])  # Hydra takes the defaults list out of what it is given


_PARSED: dict[tuple[str, str], ConfigResult] = {}


class _SearchPath(SearchPathPlugin):
    """Adds the config packages of installed plug-ins behind our own, and has all of them read once."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for point in declared("mars.conf").values():
            search_path.append(provider=point.name, path=f"pkg://{point.value}")
        for element in search_path.get_path():
            if element.path and element.path.startswith("pkg://"):
                element.path = element.path.replace("pkg://", "once://", 1)


Plugins.instance().register(_ReadOnce)
Plugins.instance().register(_SearchPath)

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

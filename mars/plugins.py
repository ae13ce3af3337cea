"""Arms, augmenters and datasets of other packages, found by entry point.

An installed distribution that declares, say,

    [project.entry-points."mars.strategies"]
    easy_first = "my_package:EasyFirst"

makes `method.name=easy_first` known; `mars.augmenters` and `mars.datasets` name a pair (config dataclass, function), as
the tables in `mars/assembly.py` do. A package may also declare `mars.conf`, a package of Hydra groups, so that
`method=easy_first` finds its conf/method/easy_first.yaml. Nothing is imported before it is asked for by name.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from mars.config import ConfigError, choose


def find(kind: str, table: Mapping[str, Any], name: str, key: str) -> Any:
    """What `name` stands for: in `table`, else among the entry points `mars.<kind>`.

    Raises ConfigError naming `key` for an unknown name, or for a package that cannot be imported.
    """
    others = _entry_points(f"mars.{kind}")
    if name in table or name not in others:
        return choose({**others, **table}, name, key)
    try:
        return others[name].load()
    except Exception as error:  # anything may happen in another package's import
        raise ConfigError(f'{key}: "{name}" ({others[name].value}) cannot be loaded: {error}') from error


@functools.cache
def _entry_points(group: str) -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


class _ConfOfPlugins(SearchPathPlugin):
    """Adds the config packages of installed plugins behind our own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for point in _entry_points("mars.conf").values():
            search_path.append(provider=point.name, path=f"pkg://{point.value}")


Plugins.instance().register(_ConfOfPlugins)

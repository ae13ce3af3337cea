"""Arms, augmenters and datasets by name: ours as `"module:Name"`, those of other packages by entry point.

Each is imported when it is asked for.

An installed distribution that declares, say,

    [project.entry-points."mars.strategies"]
    easy_first = "my_package:EasyFirst"

makes `method.name=easy_first` known; `mars.augmenters` and `mars.datasets` name a pair (config dataclass, function), as
the tables in `mars/augment/named.py` and `mars/choices.py` do, and `mars.benchmarks` a `benchmarks.protocol.Benchmark`.
A package may also declare `mars.conf`, a package of Hydra groups, so that `method=easy_first` finds its
conf/method/easy_first.yaml.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mars.config import ConfigError, choose


def resolve(target: str) -> Any:
    """The object that `"module:Name"` names; its module is imported now."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def find(kind: str, table: Mapping[str, str], name: str, key: str) -> Any:
    """The object called `name`: a `"module:Name"` of `table`, else one of the entry points `mars.<kind>`.

    Raises ConfigError with the config key `key` for an unknown name, or for a package that cannot be imported.
    """
    others = declared(f"mars.{kind}")
    if name in table:
        return resolve(table[name])
    if name not in others:
        choose({**others, **table}, name, key)  # raises
    try:
        return others[name].load()
    except Exception as error:  # anything may happen in another package's import
        raise ConfigError(f'{key}: "{name}" ({others[name].value}) cannot be loaded: {error}') from error


@functools.cache
def declared(group: str) -> Mapping[str, EntryPoint]:
    """The entry points that installed distributions declare in `group`, by name."""
    return {point.name: point for point in entry_points(group=group)}

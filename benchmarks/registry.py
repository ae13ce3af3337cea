"""Which benchmarks there are, and one made: from its settings (conf/benchmark/*.yaml) or from what a record says of it.

Ours are the files of benchmarks/protocols/, others the entry points `mars.benchmarks` of other packages; a benchmark is
imported when it is asked for by name. The numbers of an evaluation are taken once more from its score table alone,
which anybody can do without the model:

    recompute("in_distribution", {}, pd.read_parquet("RUN/scores/in_distribution.parquet"))["test"]["accuracy"]
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmarks import protocols
from benchmarks.protocol import Asked, Benchmark, Filling, Parts
from benchmarks.protocols.in_distribution import InDistribution
from mars.config import UserError
from mars.plugins import declared
from mars.plugins import find as found

USUAL: dict[str, Any] = {"name": "in_distribution", **vars(InDistribution())}  # what every run is judged by
RESAMPLES = 1000  # of an interval that a board takes for itself


def names() -> frozenset[str]:
    """Every benchmark, ours and those of other packages."""
    return frozenset(_ours().keys() | declared("mars.benchmarks").keys())


def find(name: Any, key: str = "benchmark") -> type[Benchmark]:
    """The benchmark `name`. Raises ConfigError naming `key` where it is unknown or cannot be imported."""
    return found("benchmarks", _ours(), name if isinstance(name, str) else "", key)


def family(name: str) -> dict[str, type[Benchmark]]:
    """The benchmarks of one family, by name and in its order."""
    return {known: benchmark for known in sorted(names()) if (benchmark := find(known)).family == name}


def ask(settings: Mapping[str, Any], fill: Filling, label: str = "") -> Asked:
    """The benchmark `settings` name. fill: an augmenter's settings and their config key → what makes its variants.

    Raises ConfigError.
    """
    values = dict(settings)
    name = values.pop("name", "")
    return Asked(name, settings, find(name, "benchmark.name").from_settings(values, fill), label or name)


def recorded(name: str, protocol: Mapping[str, Any], resamples: int = 1) -> Benchmark:
    """The benchmark as the evaluation's `protocol` says it was set. Raises UserError."""
    benchmark = find(name)
    try:
        return benchmark.from_protocol(protocol, resamples)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{name}: the recorded protocol is not one of this benchmark ({what})") from None


def recompute(benchmark: str, protocol: Mapping[str, Any], table: pd.DataFrame) -> Parts:
    """The point estimates of every part; n among them. protocol: as the evaluation recorded it.

    Raises UserError for a benchmark that is unknown, a protocol or a table that lacks something, a score that is not
    finite.
    """
    return remade(benchmark, protocol, table)[1]


def remade(benchmark: str, protocol: Mapping[str, Any], table: pd.DataFrame) -> tuple[dict[str, Any], Parts]:
    """(`essential_protocol`, point estimates), both as the score table bears them out.

    So weights, parts of a benchmark that are missing and `partial` are what the table has; settings are those of the
    recorded `protocol`. Raises UserError as `recompute` does.
    """
    return recorded(benchmark, protocol).remade(table)


def interval(
    benchmark: str, protocol: Mapping[str, Any], table: pd.DataFrame, part: str, metric: str
) -> tuple[float, float]:
    """The 95 % interval of one number over the examples, by bootstrap; NaN where there is none.

    The same for the same scores, whatever resamples the recorded evaluation drew. Raises UserError as `recompute` does.
    """
    return recorded(benchmark, protocol, RESAMPLES).interval(table, part, metric)


@functools.cache
def _ours() -> Mapping[str, str]:
    """{name: "module:BENCHMARK"} of the files in benchmarks/protocols/."""
    modules = sorted(module.name for module in pkgutil.iter_modules(protocols.__path__))
    return {name: f"{protocols.__name__}.{name}:BENCHMARK" for name in modules}

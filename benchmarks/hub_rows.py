"""Benchmarks that bring their rows, in a local file or from the hub: every one of them, or a line that says why not.

No row is dropped: a benchmark without some of its rows is another benchmark. One that cannot be read stops the
evaluation; a file that holds fewer rows than the official one is judged on those it has, and every result says so.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.protocol import Benchmark
from mars.config import UserError, nearest
from mars.preferences.pair import DataError, Preferences
from mars.preferences.sources import Source, open_file, open_hub_split

Ties = Literal["official", "half"]
Draws = dict[str, np.ndarray]  # [1 + resamples] of each thing estimated, the estimate first

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubRows(Benchmark):
    """Rows from the hub, or from a local file in the hub's schema.

    path: the file; it comes before `hub`. ties: the official rule, or half credit. resamples, seed: of the bootstrap.
    """

    path: str | None = None
    hub: str = ""
    revision: str | None = None
    ties: Ties = "official"
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        metrics.check_bootstrap(self.resamples, self.seed)

    def check(self, preferences: Preferences | None) -> dict[str, Any]:
        return identity(self._read()[1])

    @abstractmethod
    def _read(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """(every row in file order, where they came from). Raises DataError."""


def open_rows(path: str | None, hub: str, revision: str | None, split: str) -> Source:
    """The local file, or the split on the hub. Raises DataError."""
    if path is None:
        return open_hub_split(hub, revision, split, "benchmark.path=FILE works without it")
    file = Path(path).expanduser()
    return open_file(file, file.name)


def identity(data: Mapping[str, Any]) -> dict[str, Any]:
    """What of a data record names the rows, wherever the file is and whatever it is called."""
    return {key: data[key] for key in ("sha256", "hub", "revision", "split", "fingerprint") if key in data}


def whole_rows(source: Source, columns: Sequence[str]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """(file:row, number, row), every one: a benchmark without some of its rows is another benchmark.

    Raises DataError at the first row that cannot be read or lacks one of `columns`, and where there is none.
    """
    number = 0
    for number, value, defect in source.rows:
        place = f"{source.label}:{number}"
        if value is None or defect is not None:
            raise DataError(f"{place}: {defect}")
        for column in columns:
            if column not in value:
                raise DataError(f'{place}: there is no column "{column}"{nearest(column, value)}')
            if value[column] is None:
                raise DataError(f'{place}: "{column}" is null')
        yield place, number, value
    if not number:
        raise DataError(f"{source.label}: holds no rows")


def known_subset(place: str, subset: Any, known: Mapping[str, int]) -> str:
    """`subset` itself. Raises DataError with the nearest known name where it is unknown."""
    if isinstance(subset, str) and subset in known:
        return subset
    raise DataError(f"{place}: the subset {str(subset)[:40]!r} is unknown{nearest(str(subset), known)}")


def enter(places: dict[str, str], name: str, place: str) -> str:
    """`name`, entered into `places`. Raises DataError where it is there already."""
    if name in places:
        raise DataError(f'{place}: the id "{name}" stands at {places[name]} already')
    places[name] = place
    return name


def subset_column(table: pd.DataFrame, known: Mapping[str, int], benchmark: str) -> np.ndarray:
    """[N] subset of each row. Raises UserError where one is not `known`."""
    if "subset" not in table:
        raise UserError(f"{benchmark}: the score table lacks subset")
    unknown = sorted(set(table["subset"].astype(str)) - set(known))
    if unknown:
        raise UserError(f'{benchmark}: the score table holds the subset "{unknown[0]}"{nearest(unknown[0], known)}')
    return table["subset"].to_numpy(object)


def bootstrap(estimate: metrics.Estimator, n: int, resamples: int, rng: np.random.Generator) -> Draws:
    """The estimate over n examples, then that of each resample; those of independent strata combine one by one."""
    blocks = [estimate(np.ones((1, n))), *map(estimate, metrics.resample_counts(n, resamples, rng))]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def interval(name: str, draws: np.ndarray) -> dict[str, float]:
    """`name`, `name_lo` and `name_hi` of what `bootstrap` gives."""
    low, high = metrics.percentiles(draws[1:])
    return {name: float(draws[0]), f"{name}_lo": low, f"{name}_hi": high}


def bootstrap_named(units: str, resamples: int, seed: int) -> str:
    return f"95 %, percentile bootstrap of {units}, {resamples} resamples, seed {seed}"


def shortfall(counts: Mapping[str, int], official: Mapping[str, int], name: str = "RewardBench") -> str:
    """Why rows of these subsets make no number of the benchmark `name`, in a sentence; empty where they do.

    counts, official: rows of each subset.
    """
    missing = [subset for subset in official if not counts.get(subset)]
    differ = [subset for subset in official if counts.get(subset, 0) not in (0, official[subset])]
    if not missing and not differ:
        return ""
    found = f"{sum(counts.values())} of {sum(official.values())} rows"
    if missing:
        found += f", {len(missing)} of {len(official)} subsets missing"
    elif sum(counts.values()) >= sum(official.values()):
        found += f", {len(differ)} of {len(official)} subsets of another size"
    return f"{found}: not a {name} number"


def rule_of(rules: Mapping[Ties, str], protocol: Mapping[str, Any]) -> Ties:
    """The tie rule behind the words of a recorded protocol. Raises KeyError where they are no rule's."""
    return {words: rule for rule, words in rules.items()}[protocol["ties"]]


def stated(why: str) -> dict[str, str]:
    """For a protocol: `partial`, where there is something to state."""
    return {"partial": why} if why else {}


def warn_if_partial(why: str, data: Mapping[str, Any]) -> None:
    """data: the record of the rows, which names their file or hub."""
    if why:
        log.warning("%s: %s", data.get("file") or data.get("hub"), why)

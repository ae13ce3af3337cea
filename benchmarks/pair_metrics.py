"""The numbers of an evaluation once more, from its score table alone: what anybody can check without the model.

Point estimates only. An interval costs a thousand times as much, and a board takes its own; what is read of the
recorded protocol is what a number depends on (ties, the date of the weights, edits), never what it says of the rows.
Pairs are measured here without the benchmark's class, which imports torch: a study of a thousand runs is checked each
time it is read. The other protocols are measured by their own `evaluate`, with a single resample.

    recompute("in_distribution", {}, pd.read_parquet("RUN/scores/in_distribution.parquet"))["test"]["accuracy"]
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.calibration import fit_temperature
from mars.config import UserError, choose

Parts = dict[str, dict[str, float]]  # {part: {metric: value}}
Columns = pd.DataFrame | Mapping[str, Any]  # arrays [N] by name
VALIDATION = "validation"
# What `recompute` reads of a table of pairs; one without gold_margin knows no gold.
PAIRS = ("split", "chosen_score", "rejected_score", "chosen_length", "rejected_length", "gold_margin")
RESAMPLES = 1000  # of an interval
_INTERVAL = ("_lo", "_hi", "_half_width")


def recompute(benchmark: str, protocol: Mapping[str, Any], table: pd.DataFrame) -> Parts:
    """The point estimates of every part; n among them. protocol: as the evaluation recorded it.

    Raises UserError for a benchmark that is unknown, a protocol or a table that lacks something, a score that is not
    finite.
    """
    if benchmark == "in_distribution":
        return _in_distribution(table)
    return remade(benchmark, protocol, table)[1]


def interval(
    benchmark: str, protocol: Mapping[str, Any], table: pd.DataFrame, part: str, metric: str
) -> tuple[float, float]:
    """The 95 % interval of one number over the examples, by bootstrap; NaN where there is none.

    The same for the same scores, whatever resamples the recorded evaluation drew. Raises UserError as `recompute` does.
    """
    if benchmark == "in_distribution":
        rows = table[table["split"] == part]
        rng = np.random.default_rng(0)
        found = metrics.with_intervals(functools.partial(pair_estimates, rows, None), len(rows), RESAMPLES, rng)
    else:
        found = _benchmark(benchmark, protocol, RESAMPLES).evaluate(table).metrics.get(part, {})
    return found.get(f"{metric}_lo", math.nan), found.get(f"{metric}_hi", math.nan)


def remade(benchmark: str, protocol: Mapping[str, Any], table: pd.DataFrame) -> tuple[dict[str, Any], Parts]:
    """(`settled` protocol, point estimates), both as the score table bears them out.

    So weights, parts of a benchmark that are missing and `partial` are what the table has; settings are those of the
    recorded `protocol`. Raises UserError as `recompute` does.
    """
    if benchmark == "in_distribution":
        found = _in_distribution(table)
        return dict(_usual_protocol(bool((table["split"] == VALIDATION).any()))), found
    result = _benchmark(benchmark, protocol).evaluate(table)
    return settled(result.protocol), {part: estimates_of(values) for part, values in result.metrics.items()}


def settled(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """What of a protocol a number depends on: not how its interval was drawn, nor what the file of rows was called."""
    return {key: value for key, value in protocol.items() if key not in ("resamples", "seed", "intervals", "file")}


def estimates_of(values: Mapping[str, float]) -> dict[str, float]:
    """`values` less the ends and half-widths of intervals."""
    return {name: value for name, value in values.items() if not is_interval(name, values)}


def is_interval(name: str, values: Mapping[str, Any]) -> bool:
    """Whether `name` is an interval of another of the `values`."""
    return name.endswith(_INTERVAL) and any(name.removesuffix(end) in values for end in _INTERVAL if name.endswith(end))


def pair_estimates(table: Columns, temperature: float | None, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric of one split, [R] each, under weights [R, N]: those that `in_distribution.split_metrics` explains.

    table: PAIRS of N rows. NaN where a metric is not defined. Raises UserError for a score that is not finite.
    """
    chosen, rejected, chosen_length, rejected_length = _columns(table)
    gold = np.asarray(table["gold_margin"], float) if "gold_margin" in table else np.full(len(chosen), np.nan)
    margins, longer, truth = chosen - rejected, np.sign(chosen_length - rejected_length), np.sign(gold)
    known = np.isin(truth, (-1.0, 1.0)).astype(float)
    agrees = np.where(known > 0, metrics.correctness(margins * np.nan_to_num(truth)), 0.0)
    length, agreed, judged = metrics.means(np.column_stack([metrics.correctness(longer), agrees, known]), weights).T
    found = metrics.estimates(chosen, rejected, weights) | {
        "length_controlled_accuracy": metrics.length_controlled(metrics.correctness(margins), longer, weights),
        "length_accuracy": length,
        "gold_accuracy": np.divide(agreed, judged, out=np.full_like(agreed, np.nan), where=judged > 0),
    }
    if temperature is not None:
        scaled = metrics.forecasts(margins / temperature, weights)
        found |= {f"{name}_scaled": value for name, value in scaled.items()}
    return found


def _in_distribution(table: pd.DataFrame) -> Parts:
    if "split" not in table:
        raise UserError("in_distribution: the score table lacks split")
    return recompute_splits({str(split): rows for split, rows in table.groupby("split", sort=False)})


def recompute_splits(tables: Mapping[str, Columns]) -> Parts:
    """`recompute` of in_distribution, from PAIRS of each split. Raises UserError as it does."""
    if not tables.keys() - {VALIDATION}:
        raise UserError("in_distribution: there is nothing to judge (no test split in the table)")
    temperature = None
    if VALIDATION in tables:
        chosen, rejected, *_ = _columns(tables[VALIDATION])
        temperature = fit_temperature(chosen - rejected).value
    return {split: _split(rows, temperature) for split, rows in tables.items() if split != VALIDATION}


@functools.cache
def _usual_protocol(validated: bool) -> Mapping[str, Any]:
    """The protocol of pairs, which depends on whether there are validation pairs and on nothing else of a table."""
    pair = {name: [1] for name in ("id", "subset", "turns", *PAIRS)}
    table = pd.DataFrame(pair | {"split": ["test"]})
    table = pd.concat([table, table.assign(split=VALIDATION)]) if validated else table
    return settled(_benchmark("in_distribution", {}).evaluate(table).protocol)


def _split(table: Columns, temperature: float | None) -> dict[str, float]:
    pairs = len(table["chosen_score"])
    estimated = pair_estimates(table, temperature, np.ones((1, pairs)))
    found = {name: float(value[0]) for name, value in estimated.items() if not np.isnan(value[0])}
    return found | ({} if temperature is None else {"temperature": temperature}) | {"n": float(pairs)}


def _columns(table: Columns) -> list[np.ndarray]:
    """[N] each: scores, then lengths, of chosen and rejected. Raises UserError."""
    names = PAIRS[1:5]
    if missing := [name for name in names if name not in table]:
        raise UserError(f"in_distribution: the score table lacks {', '.join(missing)}")
    found = [np.asarray(table[name], float) for name in names]
    if bad := sum(int((~np.isfinite(values)).sum()) for values in found):
        raise UserError(f"in_distribution: {bad} scores or lengths of the table are missing or not finite")
    return found


def _benchmark(name: str, protocol: Mapping[str, Any], resamples: int = 1) -> Any:
    """The benchmark as the protocol says it was set. Raises UserError."""
    make = choose(_MAKERS, name, "benchmark")
    try:
        return make(protocol, resamples)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{name}: the recorded protocol is not one of this benchmark ({what})") from None


def _usual(protocol: Mapping[str, Any], resamples: int) -> Any:
    return _class("in_distribution", "InDistribution")(resamples=resamples)


def _released_v1(protocol: Mapping[str, Any], resamples: int) -> Any:
    return _class("in_distribution", "ReleasedV1")()


def _reward_bench(protocol: Mapping[str, Any], resamples: int) -> Any:
    weights = str(protocol["weights_of"]).replace(" ", "_")
    if weights not in ("since_2024-09-10", "before_2024-09-10"):
        raise ValueError(f"weights of {weights}")
    ties = _ties("reward_bench", protocol)
    return _class("reward_bench", "RewardBench")(weights=weights, ties=ties, resamples=resamples)


def _reward_bench_raw(protocol: Mapping[str, Any], resamples: int) -> Any:
    return _class("reward_bench_raw", "RewardBenchRaw")(ties=_ties("reward_bench", protocol), resamples=resamples)


def _reward_bench_2(protocol: Mapping[str, Any], resamples: int) -> Any:
    return _class("reward_bench_2", "RewardBench2")(ties=_ties("reward_bench_2", protocol), resamples=resamples)


def _files(protocol: Mapping[str, Any], resamples: int) -> Any:
    policies = _class("preference_files", "FilePolicies")(**protocol["on"])
    return _class("preference_files", "PreferenceFiles")(str(protocol["file"]), policies, resamples)


def _robustness(protocol: Mapping[str, Any], resamples: int) -> Any:
    settings = _class("robustness", "RobustnessConfig")(
        **{"paraphrase": {}, "eda": {}, **protocol["augmenters"]},
        edits=tuple(protocol["edits"]),
        prefix=protocol["prefix"],
        rows=protocol["rows"],
        resamples=resamples,
    )
    return _class("robustness", "Robustness")(settings, {})


_MAKERS: dict[str, Callable[[Mapping[str, Any], int], Any]] = {
    "in_distribution": _usual,
    "released_v1": _released_v1,
    "reward_bench": _reward_bench,
    "reward_bench_raw": _reward_bench_raw,
    "reward_bench_2": _reward_bench_2,
    "files": _files,
    "robustness": _robustness,
}
KNOWN = frozenset(_MAKERS)  # the benchmarks that can be recomputed


def _ties(module: str, protocol: Mapping[str, Any]) -> str:
    """The tie rule behind the words of a protocol."""
    rules = importlib.import_module(f"benchmarks.{module}").TIE_RULES
    return {words: rule for rule, words in rules.items()}[protocol["ties"]]


def _class(module: str, name: str) -> Any:
    """A benchmark's class, imported when it is needed: with it comes torch."""
    return getattr(importlib.import_module(f"benchmarks.{module}"), name)

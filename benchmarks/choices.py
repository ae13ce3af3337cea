"""The benchmarks by name, and one made from its settings (conf/benchmark/*.yaml)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.in_distribution import InDistribution, ReleasedV1
from benchmarks.preference_files import PreferenceFiles
from benchmarks.protocol import Asked
from benchmarks.reward_bench import RewardBench
from benchmarks.reward_bench_2 import RewardBench2
from benchmarks.reward_bench_raw import RewardBenchRaw
from benchmarks.robustness import Fill, Robustness, RobustnessConfig
from mars.config import build, choose

BENCHMARKS: dict[str, type] = {
    "in_distribution": InDistribution,
    "released_v1": ReleasedV1,
    "reward_bench": RewardBench,
    "reward_bench_raw": RewardBenchRaw,
    "reward_bench_2": RewardBench2,
    "files": PreferenceFiles,
    "robustness": RobustnessConfig,
}
USUAL: dict[str, Any] = {"name": "in_distribution", **vars(InDistribution())}  # what every run is judged by


def ask(settings: Mapping[str, Any], fill: Callable[[Mapping[str, Any], str], Fill], label: str = "") -> Asked:
    """The benchmark `settings` name. fill: an augmenter's settings and their config key → what makes its variants.

    Raises ConfigError.
    """
    values = dict(settings)
    name = values.pop("name", "")
    built: Any = build(choose(BENCHMARKS, name, "benchmark.name"), values, "benchmark")
    if isinstance(built, RobustnessConfig):
        built = Robustness(built, {edit: fill(values[edit], f"benchmark.{edit}") for edit in ("paraphrase", "eda")})
    return Asked(name, settings, built, label or name)

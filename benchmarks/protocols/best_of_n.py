"""Best-of-n: of n candidates to a prompt the reward model picks one. How good is it, and is it still good for large n?

The simplest use of a reward model, and one that needs no training: draw n replies from a policy, keep the best scored.
With n grows the proxy, the reward model's own score of what it picks, always; the gold reward need not follow, and
where it turns down the reward model is over-optimised (Gao, Schulman & Hilton 2023, arXiv 2210.10760, whose curves
these are). Every point is the unbiased estimate over all subsets of a prompt's candidates
(`benchmarks.order_statistics`), so the curve is as smooth as the candidates allow and n = 1 is their plain mean.

Gold is known where a file has it and in the planted world; without it the proxy alone is given, which is no measure of
quality. Rewards of two models have no common unit: gains are given in standard deviations of a prompt's candidates.

    python -m benchmarks.evaluate model=RUN benchmark=best_of_n
    python -m benchmarks.evaluate model=RUN benchmark=best_of_n benchmark.path=candidates.jsonl
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.candidates import COLUMNS, PolicyTally, Prompts, from_policy, from_world, scored
from benchmarks.models.sampling import RECORDED, Sampled
from benchmarks.order_statistics import kl
from benchmarks.picks import CURVE, NAME, Picked
from benchmarks.protocol import Benchmark, Filling, Measure, Parts, Result, Scorer
from mars.config import build
from mars.preferences.candidates import Candidate, Repeated, Tally, check_number, read_candidates
from mars.preferences.pair import Preferences
from mars.preferences.sources import open_file

if TYPE_CHECKING:
    import torch

    from benchmarks.models.policy import Policy

_GOLD = {
    "file": "the reward that the file has",
    "world": "the planted world's own",
    "policy": "the planted world's own, of what it reads in the text",
}
NO_QUALITY = "unknown: the proxy rises with n whatever the quality of what is picked, and is no measure of it"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BestOfNConfig(Sampled):
    """conf/benchmark/best_of_n.yaml.

    n: the largest of the curve. path: a file of candidates; else policy: what writes them; else the planted world.
    prompts: how many, None for all. candidates: of a prompt, from the world or the policy.
    """

    n: int = 16
    path: str | None = None
    repeated: Repeated = "raise"
    prompts: int | None = 100
    candidates: int = 32
    resamples: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 2:
            raise ValueError(f"n: must be at least 2, not {self.n} (the best of one is any)")
        if self.prompts is not None and self.prompts < 1:
            raise ValueError(f"prompts: must be at least 1, or null for all, not {self.prompts}")
        if self.path and self.policy:
            raise ValueError("policy: the candidates come from the file of benchmark.path (leave one of the two away)")
        if not self.path and self.candidates < self.n:
            raise ValueError(f"candidates: {self.candidates} are fewer than benchmark.n={self.n}")
        metrics.check_bootstrap(self.resamples, self.seed)

    @property
    def source(self) -> Literal["file", "policy", "world"]:
        return "file" if self.path else "policy" if self.policy else "world"


@dataclass(frozen=True)
class BestOfN(Benchmark):
    """The benchmark: its settings, and the cache and device of a policy."""

    title: ClassVar = "Best of n"
    kinds: ClassVar = COLUMNS
    measures: ClassVar = (
        Measure("overall", "gold_gain", "gold gain, sd", share=False, chance=0.0, optional=True),
        Measure("overall", "gold_regret", "regret, sd", share=False, optional=True),
        Measure("overall", "proxy_gain", "proxy gain, sd", share=False, optional=True),  # a constant scorer has none
    )
    needs_dataset: ClassVar = True

    config: BestOfNConfig
    place: tuple[Path, torch.device] | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], fill: Filling) -> BestOfN:
        return cls(build(BestOfNConfig, settings, "benchmark"))

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> BestOfN:
        source, sampled = protocol["candidates_from"], protocol.get("policy") or {}
        path = str(protocol.get("file") or "not named") if source == "file" else None
        own = {key: sampled[key] for key in RECORDED} | {"policy": sampled["weights"]} if source == "policy" else {}
        ns = protocol["n"]
        return cls(BestOfNConfig(n=ns[-1], path=path, candidates=ns[-1], resamples=resamples, **own))

    def at(self, cache: Path, device: torch.device) -> BestOfN:
        return BestOfN(self.config, (cache, device))

    @property
    def asks_dataset(self) -> bool:
        return self.config.path is None

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        if self.config.source == "file":
            source = open_file(self._file, self._file.name)
            for _ in self._from_file(Tally()):
                pass
            return {"sha256": source.identity["sha256"]}
        prompts = self._prompts(preferences)
        if self.config.source == "policy":
            return {"policy": self._policy.settings}
        next(from_world(prompts, 1, self.config.seed))
        return {}

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """A row per candidate: `benchmarks.candidates.COLUMNS`. Raises UserError for what cannot be judged."""
        table, data = self._scored(scorer, preferences)
        if table["gold"].isna().all():
            log.warning("best_of_n: the gold reward is %s", NO_QUALITY)
        return table, data

    def _scored(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        if self.config.source == "file":
            tally, source = Tally(), open_file(self._file, self._file.name)
            table = scored(self._from_file(tally), scorer)
            counts = {"rows": len(table), "prompts": len(tally.number), "empty": tally.empty}
            return table, {"sources": [{**source.identity, **counts, "repeated": tally.repeated}]}
        prompts, number = self._prompts(preferences), self.config.candidates
        if self.config.source == "world":
            return scored(from_world(prompts, number, self.config.seed), scorer), prompts.record
        counted = PolicyTally()
        table = scored(from_policy(prompts, self._policy, number, counted), scorer)
        return table, {**prompts.record, "policy": {**self._policy.settings, **vars(counted)}}

    def candidates(self, preferences: Preferences | None) -> Iterator[Candidate]:
        """The candidates with their texts, in the order in which `score` takes them. Raises UserError as it does."""
        if self.config.source == "file":
            return self._from_file(Tally())
        prompts, number = self._prompts(preferences), self.config.candidates
        if self.config.source == "world":
            return from_world(prompts, number, self.config.seed)
        return from_policy(prompts, self._policy, number, PolicyTally())

    def evaluate(self, table: pd.DataFrame) -> Result:
        """A part `best_of/n` for each n of the curve, and `overall`: the largest n once more.

        gold, proxy: mean over prompts of the reward expected of the pick. kl: of picking, in nats, at most. gold_gain,
        proxy_gain: over n = 1, and gold_regret: of the best candidate there is over the pick; all three in standard
        deviations within a prompt, pooled. n: prompts. What needs a gold reward is absent where it is not known.

        Raises UserError for missing columns, a score that is not finite, too few candidates of a prompt.
        """
        picked = Picked.of(table, self.config.n)
        known = picked.gold is not None
        lengths = Picked.of(table.assign(score=table["length"].astype(float)), self.config.n)
        flat = {f"{CURVE}{n}": {"proxy_gain": 0.0, "kl": 0.0} for n in picked.ns}
        coin = {part: values | ({"gold_gain": 0.0} if known else {}) for part, values in flat.items()}
        coin["overall"] = coin[f"{CURVE}{self.config.n}"]
        baselines = {"length_only": self._parts(lengths), "random": coin}
        if known:
            baselines["gold"] = self._parts(Picked.of(table.assign(score=table["gold"]), self.config.n))
        return Result(self._protocol(picked), self._parts(picked), {"baselines": baselines})

    # ---- inside

    @property
    def _file(self) -> Path:
        return Path(self.config.path or "").expanduser()

    def _from_file(self, tally: Tally) -> Iterator[Candidate]:
        """The file's candidates; at its end, raises DataError where a prompt has too few."""
        yield from read_candidates(open_file(self._file, self._file.name), tally, self.config.repeated)
        check_number(tally, self.config.n, "benchmark.n")

    def _prompts(self, preferences: Preferences | None) -> Prompts:
        return Prompts.of(preferences, self.config.prompts, self.config.seed)

    @functools.cached_property
    def _policy(self) -> Policy:
        from benchmarks.models.policy import Policy, PolicyConfig  # torch, without which tables are measured

        assert self.place is not None
        return Policy(PolicyConfig.of(self.config), *self.place)

    def _protocol(self, picked: Picked) -> dict[str, Any]:
        of = self.config
        told: dict[str, Any] = {"name": NAME, "n": list(picked.ns), "candidates_from": of.source}
        if of.source == "file":
            told |= {"file": self._file.name}
        if of.source == "policy":
            told["policy"] = {"weights": of.policy if self.place is None else self._policy.identity}
            told["policy"] |= {key: getattr(of, key) for key in RECORDED}
        return told | {
            "gold": _GOLD[of.source] if picked.gold is not None else NO_QUALITY,
            "estimator": "over all subsets of size n of a prompt's candidates; ties share evenly",
            "kl": "log n − (n − 1)/n nats, an upper bound (Beirami et al. 2024, arXiv 2401.01879)",
            "unit": "gains and regret: standard deviation within a prompt, pooled over prompts",
            "intervals": "95 %, percentile bootstrap over prompts",
            "resamples": of.resamples,
            "seed": of.seed,
        }

    def _parts(self, picked: Picked) -> Parts:
        rng = np.random.default_rng(self.config.seed)
        found = metrics.with_intervals(picked.estimates, len(picked.ids), self.config.resamples, rng)
        parts: Parts = {f"{CURVE}{n}": {} for n in picked.ns}
        for name, value in found.items():
            part, _, metric = name.partition(" ")
            parts[part][metric] = value
        for n, values in zip(picked.ns, parts.values(), strict=True):
            values |= {"kl": kl(n), "n": float(len(picked.ids))}
        return {"overall": dict(parts[f"{CURVE}{picked.ns[-1]}"]), **parts}


BENCHMARK = BestOfN

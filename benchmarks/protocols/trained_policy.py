"""A policy trained with the reward model: does its gold reward follow the reward model's, and how far?

The reward model is the proxy that RLOO or GRPO raises (`benchmarks.align`); the policy is judged before, while and
after, on prompts that it is not trained on. Gold is known in the planted world. Elsewhere the proxy alone is given,
which is no measure of quality, and what the policy has become is for a judge to say (`python -m benchmarks.judge`). How
a policy comes to please its reward model is beside it: length, repetition, entropy, KL.

It needs the extra `align` (TRL). The trained policy, an ordinary directory of transformers, is kept in the cache under
all that shaped it, the reward model included, with its replies and those of before as files that a judge reads; what
was interrupted goes on.

    python -m benchmarks.evaluate model=RUN benchmark=trained_policy
    python -m benchmarks.evaluate study=outputs/matched benchmark=trained_policy benchmark.policy=Qwen/Qwen3-0.6B
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.align.outcome import COLUMNS, NAME, STEP, Outcome
from benchmarks.align.settings import TrainedPolicyConfig
from benchmarks.candidates import Prompts
from benchmarks.models.sampling import RECORDED
from benchmarks.protocol import Benchmark, Filling, Measure, Parts, Result, Scorer
from benchmarks.splits import needed
from mars.config import build
from mars.files import alone, digest, read_json, read_parquet, write_json, write_parquet
from mars.preferences.pair import Preferences

if TYPE_CHECKING:
    import torch

    from benchmarks.models.policy import Policy

_NO_QUALITY = "unknown: training raises the proxy whatever the quality of the replies, so it is no measure of it"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedPolicy(Benchmark):
    """The benchmark: its settings, and the cache and device of the policy."""

    title: ClassVar = "Trained policy"
    kinds: ClassVar = COLUMNS
    measures: ClassVar = (
        Measure("overall", "gold_win_rate", "gold win rate", chance=0.5, optional=True),
        Measure("overall", "gold_gain", "gold gain, sd", share=False, chance=0.0, optional=True),
        Measure("overall", "proxy_gain", "proxy gain, sd", share=False, optional=True),
        Measure("overall", "kl", "KL, nats", share=False),
    )
    needs_dataset: ClassVar = True

    config: TrainedPolicyConfig
    place: tuple[Path, torch.device] | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], fill: Filling) -> TrainedPolicy:
        return cls(build(TrainedPolicyConfig, settings, "benchmark"))

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> TrainedPolicy:
        policy = dict(protocol["policy"])
        told = {"policy": policy.pop("weights"), **policy, "training": protocol["training"]}
        told |= {"samples": protocol["samples"], "every": protocol["every"], "resamples": resamples}
        return cls(build(TrainedPolicyConfig, told, "protocol"))

    def at(self, cache: Path, device: torch.device) -> TrainedPolicy:
        return TrainedPolicy(self.config, (cache, device))

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        from benchmarks.align.training import check_trainable

        needed(preferences, NAME)
        policy = self._policy()
        check_trainable(policy, self.config.training)
        return {"policy": policy.settings}

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """A row per reply: `benchmarks.align.outcome.COLUMNS`. Raises UserError for what cannot be trained."""
        from benchmarks.align.replies import Probe, write_replies  # torch, without which tables are measured
        from benchmarks.align.training import Reward, trained

        assert self.place is not None
        of, known = self.config, needed(preferences, NAME)
        policy = self._policy()
        asked = Prompts.drawn(known.name, "base", known.base, None, of.seed)
        judged = Prompts.of(known, of.prompts, of.seed)
        probe = Probe(policy, judged, of.samples, of.seed, scorer)
        start = probe.written(0, None)
        # The reward model is known by what it says of the replies: the same weights elsewhere are the same.
        shaped = [policy.settings, asdict(of.training), of.every, asked.record, judged.record, of.samples, of.seed]
        home = self.place[0] / "policies" / digest([shaped, start["score"].tolist()])[:16]
        log.info("the policy is trained in %s", home)
        home.mkdir(parents=True, exist_ok=True)
        with alone(home):  # another process that trains the very same is waited for
            if not (done := home / "training.json").exists():
                write_parquet(home / "step-0.parquet", start)
                steps = trained(Reward(policy, asked, scorer, of.training), probe, of.every, of.seed, home)
                write_json(done, steps)
        remedy = f"remove {home}; the policy is trained again"
        tables = [read_parquet(home / f"step-{step}.parquet", remedy) for step in of.steps]
        for name, table in (("untrained", tables[0]), ("trained", tables[-1])):
            write_replies(home / f"{name}.json", f"{of.policy} {name}", judged, table)
        training = read_json(done, remedy, list)
        data = {"prompts": asked.record, **judged.record, "policy": policy.settings, "trained_as": home.name}
        return pd.concat(tables, ignore_index=True)[list(COLUMNS)], data | {"training": training}

    def evaluate(self, table: pd.DataFrame) -> Result:
        """A part `step/K` for each step of the curve, and `overall`: the last step once more.

        gold, proxy: mean over prompts of the replies' reward. gold_gain, proxy_gain: over step 0, in standard
        deviations within a prompt at step 0, pooled. gold_win_rate: against step 0. kl: of whole replies, nats, from
        step 0. entropy: nats a token. length: characters. repetition: share of repeated runs of three words. cut_off:
        share of replies. n: prompts. What needs a gold reward is absent where it is not known.

        Raises UserError for missing columns, a score that is not finite, replies that are missing.
        """
        outcome = Outcome.of(table)
        rng = np.random.default_rng(self.config.seed)
        found = metrics.with_intervals(outcome.estimates, len(outcome.ids), self.config.resamples, rng)
        parts: Parts = {f"{STEP}{step}": {} for step in outcome.steps}
        for name, value in found.items():
            part, _, metric = name.partition(" ")
            parts[part][metric] = value
        for values in parts.values():
            values["n"] = float(len(outcome.ids))
        last = dict(parts[f"{STEP}{outcome.steps[-1]}"])
        nothing = {"gold_win_rate": 0.5, "gold_gain": 0.0} if outcome.wins is not None else {}
        baselines = {"untrained": {"overall": {**nothing, "proxy_gain": 0.0, "kl": 0.0}}}
        return Result(self._protocol(outcome), {"overall": last, **parts}, {"baselines": baselines})

    # ---- inside

    def _policy(self) -> Policy:
        """A policy of its own for each training, which changes it."""
        from benchmarks.models.policy import Policy, PolicyConfig

        assert self.place is not None
        return Policy(PolicyConfig.of(self.config), *self.place)

    def _protocol(self, outcome: Outcome) -> dict[str, Any]:
        of = self.config
        weights = of.policy if self.place is None else self._policy().identity
        return {
            "name": NAME,
            "policy": {"weights": weights, **{key: getattr(of, key) for key in RECORDED}},
            "training": asdict(of.training),
            "samples": of.samples,
            "every": of.every,
            "steps": list(outcome.steps),
            "gold": "the planted world's own, of what it reads in the text"
            if outcome.wins is not None
            else _NO_QUALITY,
            "kl": "to the policy before training, whole replies, nats, summed over the vocabulary at every token",
            "unit": "gains: standard deviation within a prompt before training, pooled over prompts",
            "intervals": "95 %, percentile bootstrap over prompts",
            "resamples": of.resamples,
            "seed": of.seed,
        }


BENCHMARK = TrainedPolicy

"""What reward models are worth downstream, of known course, for the tests of analysis: candidates, and policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import picks
from benchmarks.align import outcome
from benchmarks.align.settings import TrainedPolicyConfig
from benchmarks.candidates import COLUMNS
from benchmarks.protocol import Benchmark
from benchmarks.protocols.best_of_n import BestOfN, BestOfNConfig
from benchmarks.protocols.trained_policy import TrainedPolicy
from mars.record.facts import SCHEMA_VERSION
from mars.record.run_directory import RunDirectory

STEPS = (0, 10, 20)


def add_picks(run: Path, skill: float, seed: int, gold: bool = True, policy: str | None = None) -> None:
    """Forty prompts of eight candidates: alike for all arms; their scores are gold, weighted by skill, and noise."""
    shared = np.random.default_rng(9)
    truth = shared.normal(size=320)
    noise = np.random.default_rng([seed, int(10 * skill)]).normal(size=320)
    table = pd.DataFrame(
        {
            "id": np.repeat([f"p{i}" for i in range(40)], 8),
            "subset": "",
            "response": np.tile(np.arange(8), 40),
            "score": skill * truth + noise,
            "gold": truth if gold else np.nan,
            "length": 10,
        }
    )[list(COLUMNS)]
    _write(run, picks.NAME, BestOfN(BestOfNConfig(n=8, candidates=8, resamples=20, policy=policy)), table)


def add_training(run: Path, rise: float, seed: int, gold: bool = True, policy: str = "sha256:0") -> None:
    """The evaluation of a `training_table`."""
    config = TrainedPolicyConfig(policy=policy, resamples=20, prompts=30, samples=4, every=10)
    _write(run, outcome.NAME, TrainedPolicy(config), training_table(rise, seed, gold))


def training_table(rise: float = 0.5, seed: int = 0, gold: bool = True) -> pd.DataFrame:
    """Thirty prompts of four replies at STEPS: the gold rises by `rise` from step to step, the proxy by 1, KL by rise².

    Before training all arms write the same. Length grows by 5 a step, and there is noise of the run's own.
    """
    shared, own = np.random.default_rng([9, seed]), np.random.default_rng([seed, int(100 * abs(rise))])
    before = shared.normal(size=120)
    tables = []
    for place, step in enumerate(STEPS):
        noise = 0.2 * own.normal(size=(2, 120)) if step else np.zeros((2, 120))
        rows: dict[str, Any] = {
            "id": np.repeat([f"p{i:02}" for i in range(30)], 4),
            "subset": "",
            "step": step,
            "response": np.tile(np.arange(4), 30),
            "score": 3 * before + place + noise[0],
            "gold": before + rise * place + noise[1] if gold else np.nan,
            "length": 50 + 5 * place,
            "tokens": 10,
            "kl": place * (1 + rise**2),
            "entropy": 2.0 - 0.1 * place,
            "repetition": 0.1 * place,
            "cut_off": False,
        }
        tables.append(pd.DataFrame(rows)[list(outcome.COLUMNS)])
    return pd.concat(tables, ignore_index=True)


def _write(run: Path, name: str, benchmark: Benchmark, table: pd.DataFrame) -> None:
    result = benchmark.evaluate(table)
    record = {"schema_version": SCHEMA_VERSION, "benchmark": name, "label": name}
    record |= {"protocol": result.protocol, "metrics": result.metrics, "data": {}}
    RunDirectory(run).write_evaluation(name, table, record)

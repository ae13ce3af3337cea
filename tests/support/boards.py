"""Studies and evaluated models as somebody would send them to a leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.protocol import Benchmark
from benchmarks.protocols.in_distribution import InDistribution
from benchmarks.protocols.reward_bench import SECTIONS, RewardBench
from mars.record.facts import SCHEMA_VERSION
from mars.record.layout import MAIN, scores_of
from mars.record.run_directory import RunDirectory
from support.study import make_run

MODEL = {"name": "someone/model", "weights": "someone/model@abc", "template": "chat", "max_length": 512,
         "truncation": "left", "architecture": "LlamaForSequenceClassification", "dtype": "float32"}  # fmt: skip
USUAL = InDistribution(resamples=5)


def lay(table: pd.DataFrame) -> pd.DataFrame:
    """Lengths and gold margins as functions of the id: of one test set, whatever the model."""
    number = table["id"].str.extract(r"(\d+)$")[0].astype(int)
    lengths = {"chosen_length": 20 + number * 7 % 50, "rejected_length": 20 + number * 11 % 50}
    return table.assign(**lengths, gold_margin=(number % 5 - 1.5).astype(float))


def judged(directory: Path, label: str, benchmark: Benchmark, table: pd.DataFrame, data: Mapping[str, Any]) -> None:
    """What an evaluation leaves: scores, record, metrics.json."""
    result = benchmark.evaluate(table)
    name = "reward_bench" if isinstance(benchmark, RewardBench) else "in_distribution"
    record = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": name,
        "label": label,
        "protocol": result.protocol,
        "data": data,
    }
    RunDirectory(directory).write_evaluation(label, table, {**record, "metrics": result.metrics, "model": MODEL})


def of_rows(table: pd.DataFrame, rows: str = "the rows") -> dict[str, Any]:
    counts = table["split"].value_counts(sort=False)
    return {
        "rows": {str(s): int(n) for s, n in counts.items()},
        "sha256": {str(s): f"{rows}, {s}" for s in counts.index},
    }


def publish(directory: Path, rows: str = "the rows") -> Path:
    """A synthetic run as the runner leaves one: judged on the test set that everybody has."""
    table = lay(pd.read_parquet(directory / scores_of(MAIN)))
    judged(directory, MAIN, USUAL, table, of_rows(table, rows))
    return directory


def study_of(directory: Path, seeds: tuple[int, ...], rows: str = "the rows", **options: Any) -> Path:
    directory.mkdir(parents=True)
    for method, skill in {"uniform": 0.5, "mars": 0.9}.items():
        for seed in seeds:
            publish(make_run(directory, method, seed, skill, examples=30, **options), rows)
    return directory


def model_of(directory: Path) -> Path:
    """What `benchmarks.evaluate` leaves of a model from elsewhere, on the same rows and on a part of RewardBench."""
    rng = np.random.default_rng(7)
    ids = [f"{split}-{i}" for split in ("test", "test_reversed_nuisance") for i in range(30)]
    table = pd.DataFrame({"split": [name.rpartition("-")[0] for name in ids], "id": ids, "subset": ""})
    table = table.assign(chosen_score=rng.normal(1, 1, 60), rejected_score=rng.normal(size=60), turns=1)
    table = lay(table)
    judged(directory, "in_distribution-planted", USUAL, table, of_rows(table))
    subsets = [name for subsets in SECTIONS.values() for name in subsets]
    bench = pd.DataFrame({"split": "filtered", "id": [f"{s}/1" for s in subsets], "subset": subsets, "turns": 1})
    bench = bench.assign(chosen_score=rng.normal(1, 1, 23), rejected_score=0.0, chosen_length=5, rejected_length=6)
    judged(
        directory, "reward_bench", RewardBench(resamples=5), bench.assign(gold_margin=np.nan), {"sha256": "the file"}
    )
    return directory

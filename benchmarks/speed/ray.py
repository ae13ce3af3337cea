"""Scoring by two Ray actors beside one: how much faster two cores are, and what a start costs.

    taskset -c 0,1 python -m benchmarks.speed ray [--shards 40] [--repeats 3]

Token ids drawn at random go through the frozen encoder, one thread an actor, each actor on a core of its own. The clock
of the rate runs from the moment at which the last actor begins its first shard; what comes before is the start: Ray
Data, a process, torch, the model. The two take turns. Prints the tokens/s of each, the median ratio, and the seconds of
a start.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from mars.cluster.settings import EngineConfig
from mars.cluster.shards import Shard, Work, Workers, open_workers
from mars.config import build
from mars.reward.backbone import BackboneConfig
from mars.reward.features import FrozenEncoder

ROOT = Path(__file__).resolve().parents[2]
_TOKENS = 4096  # of a shard, which is a batch


class Clocked:
    """In a worker: passes of the encoder, and when each began and ended. cores: one for each worker."""

    def __init__(self, backbone: BackboneConfig, place: str, cores: list[int]):
        torch.set_num_threads(1)
        mine = next(core for core in cores if _taken(Path(place) / f"core-{core}"))
        os.sched_setaffinity(0, {mine})
        self.encoder = FrozenEncoder(backbone, Path(place), torch.device("cpu"), _TOKENS)
        self.encoder.of_ids([np.arange(100, 200)], 0)

    def __call__(self, texts: list[np.ndarray]) -> dict[str, list[Any]]:
        """One row: the process, its seconds, the tokens."""
        began = time.time()
        self.encoder.of_ids(texts, 0)
        return {"worker": [os.getpid()], "began": [began], "ended": [time.time()], "tokens": [sum(map(len, texts))]}


def _taken(file: Path) -> bool:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def measured(workers: Workers, backbone: BackboneConfig, shards: list[Shard], cores: list[int]) -> tuple[float, float]:
    """(tokens per second, seconds of the start)."""
    with tempfile.TemporaryDirectory() as place:
        work = Work("benchmarks.speed.ray:Clocked", (backbone, place, cores), place)
        asked = time.time()
        rows = [table.to_pylist()[0] for _, table in workers.map(work, shards)]
        workers.forget(work)
    first: dict[int, float] = {}
    for row in rows:
        first[row["worker"]] = min(row["began"], first.get(row["worker"], row["began"]))
    start, end = max(first.values()), max(row["ended"] for row in rows)
    tokens = sum(row["tokens"] for row in rows if row["began"] >= start)
    return tokens / (end - start), start - asked


def main(shards: int = 40, repeats: int = 3) -> None:
    backbone = build(BackboneConfig, yaml.safe_load((ROOT / "conf/backbone/minilm.yaml").read_text()), "backbone")
    rng, cores = np.random.default_rng(0), sorted(os.sched_getaffinity(0))[:2]
    texts = [[rng.integers(1000, 30000, 128) for _ in range(_TOKENS // 128)] for _ in range(shards)]
    todo = [Shard(str(number), content) for number, content in enumerate(texts)]
    rates: dict[int, list[float]] = {1: [], 2: []}
    starts = []
    with tempfile.TemporaryDirectory() as kept, open_workers(EngineConfig("ray", actors=2), Path(kept)) as workers:
        assert workers is not None
        for _ in range(repeats):
            for actors, found in rates.items():
                some = Workers(workers.ray, workers.need, actors, workers.directory)
                rate, start = measured(some, backbone, todo, cores)
                found.append(rate)
                starts.append(start)
    ratio = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    one, two = (statistics.median(found) for found in rates.values())
    print(f"{shards} shards of {_TOKENS} tokens, {repeats} repeats; load {os.getloadavg()[0]:.1f}")
    print(f"1 actor {one:,.0f} tokens/s, 2 actors {two:,.0f}, ratio {ratio:.2f}; start {statistics.median(starts):.1f} s")

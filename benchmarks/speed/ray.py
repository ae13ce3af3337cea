"""Scoring by two Ray actors beside one: how much faster two cores are, and what a start costs.

    taskset -c 0,1 python -m benchmarks.speed ray [--shards 40] [--repeats 3]

Token ids drawn at random go through the frozen encoder, one thread an actor, each actor on a core of its own. The clock
of the rate runs from the moment at which the last actor begins its first shard; what comes before is the start: Ray
Data, a process, torch, the model. The two take turns. Prints the tokens/s of each, the median ratio, and the seconds of
a start; and the ratio in seconds of a core, which is what the clock would show if nobody else had work for these cores.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.speed.shapes import backbone_of
from mars.cluster.settings import EngineConfig
from mars.cluster.shards import Actors, Shard, Work, open_actors
from mars.reward.backbone import BackboneConfig
from mars.reward.encoder import FrozenEncoder

_TOKENS = 4096  # of a shard, which is a batch
_LENGTH = 128  # tokens of a text


class Clocked:
    """In a worker: passes of the encoder, and when each began and ended. cores: one for each worker."""

    def __init__(self, backbone: BackboneConfig, place: str, cores: list[int]):
        torch.set_num_threads(1)
        mine = next(core for core in cores if _taken(Path(place) / f"core-{core}"))
        os.sched_setaffinity(0, {mine})
        self.encoder = FrozenEncoder(backbone, Path(place), torch.device("cpu"), _TOKENS)
        self.encoder.of_ids([np.arange(100, 200)], 0)

    def __call__(self, content: bytes) -> dict[str, list[Any]]:
        """One row: the process, its seconds, the tokens."""
        texts = list(np.frombuffer(content, dtype=np.int32).reshape(-1, _LENGTH))
        began, core = time.time(), time.process_time()
        self.encoder.of_ids(texts, 0)
        spent = {"began": [began], "ended": [time.time()], "core": [time.process_time() - core]}
        return {"worker": [os.getpid()], "tokens": [sum(map(len, texts))], **spent}


def _taken(file: Path) -> bool:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


class Measured(NamedTuple):
    """rate: tokens per second. core: tokens per second of a core's time. start: seconds."""

    rate: float
    core: float
    start: float


def measured(actors: Actors, backbone: BackboneConfig, shards: list[Shard], cores: list[int]) -> Measured:
    """All shards by all workers."""
    with tempfile.TemporaryDirectory() as place:
        work = Work("benchmarks.speed.ray:Clocked", (backbone, place, cores), place)
        asked = time.time()
        rows = [table.to_pylist()[0] for _, table in actors.map(work, shards)]
        actors.forget(work)
    first: dict[int, float] = {}
    for row in rows:
        first[row["worker"]] = min(row["began"], first.get(row["worker"], row["began"]))
    start, end = max(first.values()), max(row["ended"] for row in rows)
    tokens = sum(row["tokens"] for row in rows if row["began"] >= start)
    core = sum(row["tokens"] for row in rows) / sum(row["core"] for row in rows)
    return Measured(tokens / (end - start), core, start - asked)


def main(shards: int = 40, repeats: int = 3) -> None:
    backbone = backbone_of("minilm")
    rng, cores = np.random.default_rng(0), sorted(os.sched_getaffinity(0))[:2]
    ids = rng.integers(1000, 30000, (shards, _TOKENS), dtype=np.int32)
    todo = [Shard(str(number), texts.tobytes()) for number, texts in enumerate(ids)]
    found: list[tuple[Measured, Measured]] = []
    with tempfile.TemporaryDirectory() as kept, open_actors(EngineConfig("ray", actors=2), Path(kept)) as actors:
        assert actors is not None
        for _ in range(repeats):
            one, two = (measured(replace(actors, number=number), backbone, todo, cores) for number in (1, 2))
            found.append((one, two))
            print(f"{one.rate:,.0f} and {two.rate:,.0f} tokens/s at load {os.getloadavg()[0]:.1f}", flush=True)
    median = statistics.median
    rates = [median(pair[number].rate for pair in found) for number in (0, 1)]
    ratio = median(two.rate / one.rate for one, two in found)
    of_cores = median(2 * two.core / one.core for one, two in found)
    start = median(one.start for pair in found for one in pair)
    print(f"{shards} shards of {_TOKENS} tokens, medians of {repeats}:")
    print(f"1 actor {rates[0]:,.0f} tokens/s, 2 actors {rates[1]:,.0f}; start {start:.1f} s")
    print(f"ratio {ratio:.2f} by the clock, {of_cores:.2f} in seconds of a core")

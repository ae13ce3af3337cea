"""A reward model in the workers of a cluster: each loads it as it is loaded here, and gets token ids.

What it says of itself there (template, lengths, precision) has to be what it says here, or the record would be wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.models import model_files, pretrained
from mars.cluster.shards import Actors, Shard, Work
from mars.config import ConfigError
from mars.process import devices
from mars.reward.encoder import FrozenEncoder
from mars.reward.features import Features
from mars.reward.memory import Budget
from mars.reward.on_workers import Ids
from mars.reward.scoring import ModelScorer

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ModelAsked:
    """A model as a worker loads it. most: texts of a forward pass, at most. threads: of torch on a CPU."""

    found: model_files.Found
    options: pretrained.Options
    most: int | None
    cache: Path
    device: str
    threads: int
    about: Mapping[str, Any]  # what it says of itself where it was loaded first


class Passes:
    """In a worker: token ids to scores, or to the features that a linear head reads. Raises UserError."""

    def __init__(self, asked: ModelAsked):
        torch.set_num_threads(asked.threads)
        found, options = asked.found, asked.options
        if found.revision:  # of the hub, whose files lie elsewhere on another machine
            found = model_files.find(found.name, found.revision, options.trust_remote_code)
        judged = pretrained.load(found, options, asked.cache, devices.device(asked.device))
        for key, told in asked.about.items():
            if judged.about[key] != told:
                raise ConfigError(
                    f"{key}: {found.name} has {judged.about[key]} in the workers and {told} in this process "
                    "(dtype=float32 or dtype=bfloat16 says which)"
                )
        inputs = judged.texts.inputs
        if isinstance(inputs, Features):
            assert isinstance(inputs.encoder, FrozenEncoder)
            self._make = inputs.encoder.of_ids
        else:
            self._make = ModelScorer(judged.model, judged.texts, Budget(options.token_budget, most=asked.most)).of_ids

    def __call__(self, content: bytes) -> dict[str, Any]:
        """{"score": [texts]} or {"vector": [texts, d]} of what `_content` packed."""
        import pyarrow as pa

        made = self._make(*_texts(content))
        if made.ndim == 1:
            return {"score": made}
        return {"vector": pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), made.shape[1])}


class ModelElsewhere:
    """`mars.reward.on_workers.Elsewhere` of one model, made by the workers of a cluster."""

    def __init__(self, actors: Actors, asked: ModelAsked):
        found = asked.found
        paths = () if found.revision else (str(found.directory.resolve()),)
        identity = [model_files.weights(found), asked.options, asked.most, asked.device, asked.threads, asked.about]
        self._actors = actors
        self._work = Work("benchmarks.models.on_workers:Passes", (asked,), identity, paths)

    def __call__(self, shards: Sequence[Ids], width: int) -> Iterator[tuple[int, np.ndarray]]:
        """(number of a shard, [texts] scores or [texts, d] features), as they are done. Raises UserError."""
        for number, table in self._actors.map(self._work, [_shard(texts, width) for texts in shards]):
            yield number, _array(table)

    def forget(self) -> None:
        """Deletes the finished shards: what was made of them is recorded."""
        self._actors.forget(self._work)


def _shard(texts: Ids, width: int) -> Shard:
    content = _content(texts, width)
    return Shard(hashlib.blake2b(content, digest_size=16).hexdigest(), content)


def _content(texts: Ids, width: int) -> bytes:
    """int32, end to end: the least width, the number of texts, the length of each, the ids of all."""
    numbers = [[width, len(texts)], [len(ids) for ids in texts], *texts]
    return b"".join(np.asarray(part, dtype=np.int32).tobytes() for part in numbers)


def _texts(content: bytes) -> tuple[Ids, int]:
    (width, number), rest = np.split(np.frombuffer(content, dtype=np.int32), [2])
    lengths, ids = np.split(rest, [number])
    return np.split(ids, np.cumsum(lengths)[:-1]), int(width)


def _array(table: pa.Table) -> np.ndarray:
    column = table.column(0).combine_chunks()
    if table.column_names == ["score"]:
        return column.to_numpy(zero_copy_only=False)
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)

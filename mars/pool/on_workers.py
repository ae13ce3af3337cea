"""An augmenter whose variants the workers of a cluster make, each with the model, and the store takes as its own.

A shard is what the augmenter makes between two commits on one machine, so a variant that shares a search with others
(on a GPU) shares it with the same ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mars.augment.variant import Augmenter, Request, Variant
from mars.claims import key_of
from mars.cluster.shards import Actors, Shard, Work
from mars.config import ConfigError
from mars.files import as_json, digest
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa


class Distributed:
    """Augmenter: what `inner` would make, made by `actors`. Nobody asks `inner` itself for a variant.

    work: makes in a worker what turns requests into `columns`, such as `Maker` of the same augmenter.
    """

    def __init__(self, inner: Augmenter, actors: Actors, work: Work):
        self.name, self.settings, self.together = inner.name, inner.settings, inner.together
        self.batch = sys.maxsize  # one pass over the cluster; finished shards outlast an interruption
        self.stored = getattr(inner, "stored", True)
        if explain := getattr(inner, "unchanged", None):
            self.unchanged = explain
        self._inner, self._actors, self._work = inner, actors, work

    def identity(self, request: Request) -> str:
        """As of the augmenter."""
        return self._inner.identity(request)

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order. Raises UserError as a worker does, or where workers die."""
        size = max(1, self._inner.batch // self.together) * self.together
        parts = [requests[start : start + size] for start in range(0, len(requests), size)]
        made: dict[int, list[Variant]] = {}
        with Progress(len(requests), self.name, "variants") as progress:
            for number, table in self._actors.map(self._work, [self._shard(part) for part in parts]):
                made[number] = _variants(table)
                progress.advance(len(made[number]))
        return [variant for number in range(len(parts)) for variant in made[number]]

    def forget(self) -> None:
        """Deletes the finished shards, whose variants are in the store."""
        self._actors.forget(self._work)

    def _shard(self, requests: Sequence[Request]) -> Shard:
        named = "\0".join(f"{self.identity(request)}\0{request.number}" for request in requests)
        return Shard(key_of(named).hex(), _content(requests))


class Maker:
    """In a worker: requests to columns. make: the augmenter. Raises ConfigError where it isn't the one asked for."""

    def __init__(self, augmenter: Augmenter, settings: str):
        if digest(augmenter.settings) != settings:
            raise ConfigError(
                f"augmenter: {augmenter.name} has other settings in the workers than in this process, such as its "
                "model's files or precision (augmenter.dtype=float32 or bfloat16 says which)"
            )
        self._augmenter = augmenter

    def __call__(self, content: bytes) -> dict[str, list[Any]]:
        """A row for each request."""
        variants = self._augmenter.make(_requests(content))
        return {
            "text": [None if v.text is None else v.text.encode("utf-8", "surrogatepass") for v in variants],
            "operation": [v.operation for v in variants],
            "parameters": [json.dumps(as_json(v.parameters)) for v in variants],
            "final": [v.final for v in variants],
        }


def _content(requests: Sequence[Request]) -> bytes:
    """JSON in ASCII: a text may hold what UTF-8 cannot."""
    return json.dumps([[asdict(pair), part, number] for pair, part, number in requests]).encode()


def _requests(content: bytes) -> list[Request]:
    return [
        Request(Pair(**{**pair, "prompt": tuple(Message(**turn) for turn in pair["prompt"])}), part, number)
        for pair, part, number in json.loads(content)
    ]


def _variants(table: pa.Table) -> list[Variant]:
    return [
        Variant(
            None if row["text"] is None else row["text"].decode("utf-8", "surrogatepass"),
            row["operation"],
            json.loads(row["parameters"]),
            row["final"],
        )
        for row in table.to_pylist()
    ]

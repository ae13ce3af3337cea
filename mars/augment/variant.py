"""What a variant is, and what makes one.

An augmenter rewrites one part of a pair: a side, or the user's last turn. What it writes is a pure function of its
settings, of `identity(request)` and of the variant's number, so neither order, batching nor the number of processes
changes a variant, and a store can keep it under a hash of those three (`mars.pool.store`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from mars.preferences.pair import Pair, Part


class Request(NamedTuple):
    """One variant asked for: `number` (from 0) of `part` of `pair`."""

    pair: Pair
    part: Part
    number: int

    @property
    def source(self) -> str:
        """The text to be rewritten."""
        return self.pair.part(self.part)


@dataclass(frozen=True, slots=True)
class Variant:
    """What came of a request; `text` is None where the augmenter has nothing to offer (no such beam, an empty reply).

    final: False for an outcome that may be another one next time, an endpoint's empty reply, say: it is not stored.
    """

    text: str | None
    operation: str  # what was done: "swap", "rules", "beam", …
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON: what tells this variant from its siblings
    final: bool = True


class Augmenter(Protocol):
    """Makes variants. Raises UserError where it cannot go on (a model that is not there, an endpoint that is down).

    A class attribute `stored = False` says that a variant costs less to make than to look up: none is put on disk.
    """

    name: str
    settings: Mapping[str, Any]  # all that shapes a variant beside the request, a model's revision included; JSON
    together: int  # variants of one text that one pass makes (a beam search returns all its beams), else 1
    batch: int  # variants made between two commits to the store: what an interruption can lose

    def identity(self, request: Request) -> str:
        """What of the request shapes the variant, its number aside: the text, or text and pair id."""
        ...

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order; at most `batch` of them, the numbers of one text together."""
        ...


@dataclass(frozen=True)
class NoAugmenterConfig:
    """No settings."""


class NoAugmenter:
    """The augmenter of an arm that draws nothing."""

    name = "none"
    settings: Mapping[str, Any] = {}
    together, batch = 1, 1

    def identity(self, request: Request) -> str:
        return request.source

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        raise AssertionError("an arm that says it draws nothing asked for a variant")


AUGMENTER = (NoAugmenterConfig, lambda config, cache, device: NoAugmenter())

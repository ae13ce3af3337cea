"""What a variant is, and the protocol of what makes one.

An augmenter rewrites one part of a pair: a side, or the user's last turn. A variant is a pure function of the
augmenter's settings, of `identity(request)` and of the variant's number. So neither order, batching nor the number of
processes changes a variant, and a store can keep it under a hash of those three (`mars.pool.store`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from mars.preferences.pair import Pair, Part


class Request(NamedTuple):
    """One variant asked for: variant `number` (from 0) of `part` of `pair`."""

    pair: Pair
    part: Part
    number: int

    @property
    def source(self) -> str:
        """The text to be rewritten."""
        return self.pair.part(self.part)


@dataclass(frozen=True, slots=True)
class Variant:
    """The result of a request; text is None where the augmenter has nothing to offer (no such beam, an empty reply).

    final: False for a result that may be another one next time, such as an endpoint's empty reply; it is not stored.
    """

    text: str | None
    operation: str  # what was done: "swap", "rules", "beam", …
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON: what differs from the text's other variants
    final: bool = True


NO_WORD = "no word to edit"  # why a variant equals its source: the text is code, digits, or has no blanks


class Augmenter(Protocol):
    """Makes variants.

    A class attribute `stored = False` says that a variant costs less to make than to look up, so none is stored. A
    method `unchanged(request) -> str` says in a few words why a variant equals its source (`why_unchanged`). Raises
    UserError where it cannot go on (a model that is not there, an endpoint that is down).
    """

    name: str
    settings: Mapping[str, Any]  # JSON: all that shapes a variant besides the request, a model's revision included
    together: int  # variants of one text that one pass makes: all beams of a beam search, else 1
    batch: int  # variants made between two commits to the store: what an interruption can lose

    def identity(self, request: Request) -> str:
        """What shapes the variant in the request, excluding its number: the text, or text and pair id."""
        ...

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order; at most `batch` of them, the numbers of one text together."""
        ...


def why_unchanged(augmenter: Augmenter, request: Request, variant: Variant) -> str:
    """Why `variant` equals its source, in words that many variants share; "" where it differs."""
    if variant.text != request.source:
        return ""
    explain = getattr(augmenter, "unchanged", None)
    return explain(request) if explain else "returned as it was"


@dataclass(frozen=True)
class NoAugmenterConfig:
    """No settings."""


class NoAugmenter:
    """The augmenter of an arm that draws nothing."""

    name = "none"
    settings: Mapping[str, Any] = {}
    together, batch = 1, 1

    def identity(self, request: Request) -> str:
        """The text."""
        return request.source

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """Raises AssertionError always, because nothing may ask for a variant."""
        raise AssertionError("an arm that says it draws nothing asked for a variant")


AUGMENTER = (NoAugmenterConfig, lambda config, cache, device: NoAugmenter())

"""What a preference is, and what a study trains and tests on.

`Pair` is the unit everything else passes around. `Preferences` is one dataset made ready: base pairs, validation and
test splits, and the report of what was read, dropped and why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from mars.config import UserError
from mars.preferences.dialogue import Message

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")
Part = Literal["prompt", "chosen", "rejected"]  # what an augmenter may rewrite


class DataError(UserError):
    """A preference file or row the user has to look at; the message names file and row."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One labelled preference: `chosen` was preferred to `rejected` as the reply to `prompt`."""

    id: str  # stable: dataset, split and row
    prompt: tuple[Message, ...]  # ends with the user's turn
    chosen: str
    rejected: str
    gold_margin: float | None = None  # r*(chosen) − r*(rejected) where the truth is known (planted), else None
    subset: str = ""
    exchanged: bool = False  # noise put in on purpose: its sides stand otherwise than under the dataset's usual labels

    @property
    def content(self) -> tuple[tuple[Message, ...], frozenset[str]]:
        """What makes it the same pair under another id, or with the label turned round."""
        return self.prompt, frozenset((self.chosen, self.rejected))

    def side(self, side: Side) -> str:
        return self.chosen if side == "chosen" else self.rejected

    def part(self, part: Part) -> str:
        """A side's text, or the content of the prompt's last turn."""
        return self.prompt[-1].content if part == "prompt" else self.side(part)

    def origin(self, part: Part) -> Part:
        """Where the text of `part` stands under the dataset's usual labels: variants hang on that, and not on noise."""
        if part == "prompt" or not self.exchanged:
            return part
        return "rejected" if part == "chosen" else "chosen"


@dataclass(frozen=True)
class Preferences:
    """A dataset made ready. `tests` maps split name to pairs; its first entry is the main test split."""

    name: str
    base: Sequence[Pair]
    validation: Sequence[Pair]
    tests: Mapping[str, Sequence[Pair]]
    report: Mapping[str, Any] = field(default_factory=dict)  # JSON: rows read, dropped and why, sources, contamination

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of the base, validation and test pairs, texts included; the runs of a sweep share them."""
        return {
            "base_sha256": pairs_digest(self.base),
            "validation_sha256": pairs_digest(self.validation),
            "test_sha256": pairs_digest(pair for pairs in self.tests.values() for pair in pairs),
        }


def pairs_digest(pairs: Iterable[Pair]) -> str:
    """sha256 of pairs in order, texts included: equal exactly when two runs used the same rows in the same order."""
    total = hashlib.sha256()
    for pair in pairs:
        prompt = [{"role": message.role, "content": message.content} for message in pair.prompt]
        total.update(json.dumps([pair.id, prompt, pair.chosen, pair.rejected, pair.gold_margin]).encode())
    return total.hexdigest()

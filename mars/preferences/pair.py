"""What a preference is, and what a study trains and tests on.

`Pair` is the unit that everything else works on. `Preferences` is one dataset made ready: base pairs, validation pairs,
test splits, and the report of which rows were read, which were dropped, and why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from mars.claims import key_of
from mars.config import UserError
from mars.preferences.dialogue import Message

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")
Part = Literal["prompt", "chosen", "rejected"]  # what an augmenter may rewrite
TIE = 0.5  # the agreement of a pair of which neither reply is the better one


class DataError(UserError):
    """A preference file or row that the user has to look at; the message names file and row."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One labelled preference: `chosen` was preferred to `rejected` as the reply to `prompt`."""

    id: str  # stable: dataset, split and row
    prompt: tuple[Message, ...]  # ends with the user's turn
    chosen: str
    rejected: str
    gold_margin: float | None = None  # r*(chosen) − r*(rejected) where the truth is known (planted), else None
    subset: str = ""
    exchanged: bool = False  # noise put in on purpose: its sides are those of the dataset's usual label, exchanged
    agreement: float = 1.0  # share of annotators who preferred `chosen`, in [½, 1]; ½: a tie; 1 where none is told
    strength: float | None = None  # by how much `chosen` is better, on the dataset's own scale; None: not told

    @property
    def content(self) -> bytes:
        """A key of the prompt and the two responses: equal for the same pair under another id or label."""
        return texts_key(self.prompt, *sorted((self.chosen, self.rejected)))

    @property
    def tied(self) -> bool:
        """Whether neither reply is the better one, so that `chosen` and `rejected` are names and no more."""
        return self.agreement <= TIE

    def side(self, side: Side) -> str:
        """The text of one side."""
        return self.chosen if side == "chosen" else self.rejected

    def part(self, part: Part) -> str:
        """The text of a side, or the content of the prompt's last turn."""
        return self.prompt[-1].content if part == "prompt" else self.side(part)

    def origin(self, part: Part) -> Part:
        """The part this text is under the dataset's usual labels, so that label noise changes no variant."""
        if part == "prompt" or not self.exchanged:
            return part
        return "rejected" if part == "chosen" else "chosen"


@dataclass(frozen=True)
class Preferences:
    """A dataset made ready. tests: pairs by split name; the first entry is the main test split."""

    name: str
    base: Sequence[Pair]
    validation: Sequence[Pair]
    tests: Mapping[str, Sequence[Pair]]
    report: Mapping[str, Any] = field(default_factory=dict)  # JSON: rows read, dropped and why, sources, contamination

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of the base, validation and test pairs, texts included; the same in all runs of a sweep."""
        return {
            "base_sha256": pairs_digest(self.base),
            "validation_sha256": pairs_digest(self.validation),
            "test_sha256": pairs_digest(pair for pairs in self.tests.values() for pair in pairs),
        }


def texts_key(prompt: Sequence[Message], *responses: str) -> bytes:
    """16 bytes that stand for a prompt and these responses to it, in this order, and for no other texts."""
    turns = [(message.role, message.content) for message in prompt]
    return key_of(json.dumps([turns, *responses], ensure_ascii=False))


def pairs_digest(pairs: Iterable[Pair]) -> str:
    """sha256 of pairs in order, texts included: two runs have the same one if they used the same rows in one order."""
    total = hashlib.sha256()
    for pair in pairs:
        prompt = [{"role": message.role, "content": message.content} for message in pair.prompt]
        told = [] if (pair.agreement, pair.strength) == (1.0, None) else [pair.agreement, pair.strength]
        total.update(json.dumps([pair.id, prompt, pair.chosen, pair.rejected, pair.gold_margin, *told]).encode())
    return total.hexdigest()

"""Scores for a benchmark that rank 0 judges by: what it asks for is read out to the other ranks, which score with it.

A benchmark may draw replies, train a policy or write files, all of which one process has to do alone. The others do not
know what it will ask for; so they follow, until they are dismissed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mars.preferences.dialogue import Message
from mars.process.ranks import Ranks
from mars.reward.scoring import CHUNK, ModelScorer

Text = tuple[Sequence[Message], str]


class LeadingScorer(ModelScorer):
    """Rank 0's scorer, to be called while the other ranks are in `follow`."""

    def __call__(self, texts: Iterable[Text], padded: bool = False) -> np.ndarray:
        self._ranks.told(lambda: padded)
        return super().__call__(self._read_out(texts), padded)

    def _read_out(self, texts: Iterable[Text]) -> Iterator[Text]:
        stream = iter(texts)
        while chunk := self._ranks.told(lambda: list(itertools.islice(stream, CHUNK))):
            yield from chunk


def follow(scorer: ModelScorer, ranks: Ranks) -> None:
    """Scores what rank 0's `LeadingScorer` is called for, until `dismiss`."""

    def heard() -> Iterator[Text]:
        while chunk := ranks.told(list[Text]):
            yield from chunk

    while (padded := ranks.told(lambda: None)) is not None:
        scorer(heard(), bool(padded))


def dismiss(ranks: Ranks) -> None:
    """Ends `follow` on the other ranks."""
    ranks.told(lambda: None)

"""Where the candidates of best-of-n come from: a file, the planted world, or a policy that writes them.

Whatever the source, a model's scores of them become one row a candidate; texts are handed to the scorer as they are
read and not kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.protocol import Kind, Scorer
from benchmarks.splits import needed
from mars.config import ConfigError
from mars.pool.planted_reading import read
from mars.preferences.candidates import Candidate
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair, Preferences, pairs_digest
from mars.progress import Progress
from mars.worlds.planted_candidates import candidates
from mars.worlds.planted_latents import gold

if TYPE_CHECKING:
    from benchmarks.models.policy import Policy

COLUMNS: dict[str, Kind] = {
    "id": "text", "subset": "text", "response": "count", "score": "score", "gold": "score", "length": "count",
}  # fmt: skip


@dataclass(frozen=True)
class Prompts:
    """Distinct prompts of a dataset's main test split. available: how many it has."""

    dataset: str
    split: str
    pairs: Sequence[Pair]
    available: int

    @classmethod
    def of(cls, preferences: Preferences | None, number: int | None, seed: int) -> Prompts:
        """`number` of them drawn by `seed`, in the split's order; all where there are no more. Raises UserError."""
        known = needed(preferences, "best_of_n")
        split, pairs = next(iter(known.tests.items()))
        return cls.drawn(known.name, split, pairs, number, seed)

    @classmethod
    def drawn(cls, dataset: str, split: str, pairs: Sequence[Pair], number: int | None, seed: int) -> Prompts:
        """As `of`, of the split that is given."""
        first: dict[tuple[Message, ...], int] = {}
        for place, pair in enumerate(pairs):
            first.setdefault(pair.prompt, place)
        places = np.array(list(first.values()))
        drawn = np.random.default_rng(seed).permutation(len(places))[:number]  # a permutation's head: fewer are of more
        return cls(dataset, split, [pairs[int(place)] for place in np.sort(places[drawn])], len(places))

    @property
    def record(self) -> dict[str, Any]:
        """JSON: what they are, and their digest."""
        return {
            "name": self.dataset,
            "split": self.split,
            "rows": len(self.pairs),
            "available": self.available,
            "pairs_sha256": pairs_digest(self.pairs),
        }


def from_world(prompts: Prompts, number: int, seed: int) -> Iterator[Candidate]:
    """`number` candidates of each planted prompt with their gold reward.

    Raises ConfigError where the dataset is not a planted one.
    """
    if prompts.dataset != "planted":
        raise ConfigError(
            f"benchmark.path: the candidates to the prompts of {prompts.dataset} have to come from a file "
            "(benchmark.path=FILE) or from a policy (benchmark.policy=DIR_OR_HUB_ID); only planted data has its own"
        )
    for pair in prompts.pairs:
        for k, (text, reward) in enumerate(candidates(pair.id, number, seed)):
            yield Candidate(pair.id, k, pair.prompt, text, reward, pair.subset)


@dataclass
class PolicyTally:
    """What became of a policy's candidates: whole texts, and prompts, that were cut; texts that are empty or alike."""

    cut_off: int = 0
    prompts_cut: int = 0
    empty: int = 0
    repeated: int = 0


def from_policy(prompts: Prompts, policy: Policy, number: int, tally: PolicyTally) -> Iterator[Candidate]:
    """`number` candidates of each prompt, counted in `tally`; gold as the planted world reads them, NaN elsewhere."""
    with Progress(len(prompts.pairs), "sampling", "prompts") as progress:
        for pair in prompts.pairs:
            written = policy.write(pair.prompt, number)
            tally.cut_off += written.cut_off
            tally.prompts_cut += written.prompt_cut
            tally.empty += sum(not text.strip() for text in written.texts)
            tally.repeated += number - len(set(written.texts))
            for k, text in enumerate(written.texts):
                yield Candidate(pair.id, k, pair.prompt, text, gold_of(prompts.dataset, pair, text), pair.subset)
            progress.advance(1)


def gold_of(dataset: str, pair: Pair, text: str) -> float:
    """The gold reward of a free reply to the pair's prompt as the planted world reads it; NaN for any other dataset."""
    return gold(read(text, pair.id)) if dataset == "planted" else math.nan


@dataclass
class _Facts:
    """The columns of a score table beside the score."""

    id: list[str] = field(default_factory=list)
    subset: list[str] = field(default_factory=list)
    response: list[int] = field(default_factory=list)
    gold: list[float] = field(default_factory=list)
    length: list[int] = field(default_factory=list)


def scored(found: Iterable[Candidate], scorer: Scorer) -> pd.DataFrame:
    """COLUMNS, a row for each candidate, in one pass over `found`, which may be generated as it goes."""
    facts = _Facts()

    def texts() -> Iterator[tuple[Sequence[Message], str]]:
        for one in found:
            facts.id.append(one.id)
            facts.subset.append(one.subset)
            facts.response.append(one.number)
            facts.gold.append(one.gold)
            facts.length.append(len(one.text))
            yield one.prompt, one.text

    scores = scorer(texts())
    return pd.DataFrame({**vars(facts), "score": scores})[list(COLUMNS)]

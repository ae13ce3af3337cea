"""Forward passes made by other processes: what is sent to them, and where what comes back belongs.

Texts are tokenised and cut into batches here, as if they were passed through the model here. Whole batches go out, and
whoever gets them cuts them alike (`micro_batches` and `packed_batches` go through texts in their order), so every text
shares its pass with the same others wherever it is made, and what is made of it has the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mars.reward.batching import Step
from mars.reward.tokens import Tokens

Ids = Sequence[np.ndarray]  # [L] int32 token ids of each text
# (shards of texts, least width) → (number of a shard, [texts] scores or [texts, d] features), as they are done
Elsewhere = Callable[[Sequence[Ids], int], Iterator[tuple[int, np.ndarray]]]

_BATCHES = 4  # of a full token budget in a shard: seconds of a CPU


def passed(
    elsewhere: Elsewhere, tokens: Tokens, numbers: np.ndarray, batches: Step, token_budget: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(positions in `numbers`, what the model makes of these texts) of every shard, as they are done.

    batches: positions in `numbers`, in the order in which they are made.
    """
    shards = _joined(batches, tokens.lengths[numbers], _BATCHES * token_budget)
    for shard, made in elsewhere([tokens.ids(numbers[places]) for places in shards], tokens.width):
        yield shards[shard], made


def _joined(batches: Step, lengths: np.ndarray, most: int) -> list[np.ndarray]:
    """Batches one after the other, joined while they have up to `most` tokens; one batch at least."""
    shards: list[list[np.ndarray]] = []
    filled = most
    for batch in batches:
        tokens = int(lengths[batch].sum())
        if filled + tokens > most:
            shards.append([])
            filled = 0
        shards[-1].append(batch)
        filled += tokens
    return [np.concatenate(shard) for shard in shards]

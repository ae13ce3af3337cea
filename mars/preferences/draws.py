"""What of a dataset is drawn by a seed: the order of its pairs, the prompts that are held out, the labels that flip.

Each draw hangs on the seed and on as little else as it can. A smaller size takes a prefix of what a larger one takes,
and a flip depends on its pair alone.

    held, rest, in_neither = hold_out(shuffled(pairs, seed=0, split="train"), 200)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from mars.claims import key_of
from mars.preferences import contamination
from mars.preferences.columns import Changed, Picked, pick
from mars.preferences.numbering import Numbering
from mars.preferences.pair import Pair

_BLOCK = 1 << 16  # prompts numbered at once


def shuffled(pairs: Sequence[Pair], seed: int, split: str) -> Picked:
    """`pairs` in an order drawn by seed and split: a smaller size takes a prefix of what a larger one takes."""
    return pick(pairs, np.random.default_rng([seed, *split.encode()]).permutation(len(pairs)))


def hold_out(pairs: Picked, number: int) -> tuple[Picked, Picked, int]:
    """(`number` held-out pairs, the rest, how many pairs are in neither).

    Whole prompts are held out until there are `number` pairs; what the last prompt has beyond that is in neither part.
    Both parts have the pairs of a prompt together, prompts in the order in which they first come.
    """
    prompts = _prompt_numbers(pairs)
    order, ends = np.argsort(prompts, kind="stable"), np.cumsum(np.bincount(prompts))
    held = 0
    if number and len(pairs):
        held = int(ends[min(int(np.searchsorted(ends, number)), len(ends) - 1)])
    return pick(pairs, order[: min(number, held)]), pick(pairs, order[held:]), max(0, held - number)


def in_order(drawn: Picked, most: int | None = None) -> Picked:
    """The first `most` of the `drawn` pairs, in the order of what they were drawn from."""
    return Picked(drawn.pairs, np.sort(drawn.rows[:most]))


def flipped(pairs: Sequence[Pair], rate: float, seed: int) -> Sequence[Pair]:
    """`pairs` with the labels of about a share `rate` of them flipped; `Pair.exchanged` marks those.

    A hash of (seed, pair id) decides, so a flip depends on nothing else, and a higher rate flips all that a lower one
    does and more.
    """

    def drawn(pair: Pair) -> float:
        key = f"flip/{seed}/{pair.id}".encode(errors="surrogatepass")
        return int.from_bytes(blake2b(key, digest_size=8).digest(), "big") / 2**64

    def labelled(pair: Pair) -> Pair:
        if drawn(pair) < rate:
            return replace(pair, chosen=pair.rejected, rejected=pair.chosen, exchanged=True)
        return pair

    return Changed(pairs, labelled) if rate else pairs


def _prompt_numbers(pairs: Sequence[Pair]) -> np.ndarray:
    """[len(pairs)] int: the number of each pair's prompt, in the order in which prompts first come."""
    numbering, found = Numbering(), [np.empty(0, dtype=np.int64)]
    keys = (key_of(contamination.prompt_key(pair)) for pair in pairs)
    while block := list(itertools.islice(keys, _BLOCK)):
        new = [key for key, number in zip(block, numbering.find(block), strict=True) if number < 0]
        numbering.add(list(dict.fromkeys(new)))
        found.append(numbering.find(block))
    return np.concatenate(found)

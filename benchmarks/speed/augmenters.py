"""Variants per second of the augmenters that need no model, on one core: `python -m benchmarks.speed augmenters`.

Every text is new to the augmenter (cold) and is split, edited and joined inside the clock, through `make`. `variants=1`
asks one variant of each text, the worst case; `variants=5` is what a pool of width 5 asks. count: variants a repeat;
words: of a text.
"""

from __future__ import annotations

import statistics

import numpy as np

from benchmarks.speed.clock import timed
from mars.augment.eda import Eda
from mars.augment.rules import Rules
from mars.augment.variant import Augmenter, Request
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair

_WORDS = """
the a you it they people to of and in with for that is are was can will should would not do help think want know find
make use give good large important different many question answer information idea problem example way time friend
person person's company children water music really probably however because maybe usually quickly often begin buy
"""
WORDS = _WORDS.split()


def pairs(count: int, words: int, seed: int) -> list[Pair]:
    """Pairs whose sides are distinct texts of `words` words: most of them common words, the rest met once."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))

    def text() -> str:
        chosen = [
            str(rng.choice(WORDS)) if rng.random() < 0.7 else "".join(rng.choice(letters, rng.integers(3, 9)))
            for _ in range(words)
        ]
        chosen[words // 2] += ","
        return f"{' '.join(chosen).capitalize()}."

    prompt = (Message("user", "?"),)
    return [Pair(f"cold/{seed}/{row}", prompt, text(), text()) for row in range(count)]


def rate(augmenter: Augmenter, count: int, words: int, variants: int, seed: int) -> float:
    """Variants per second over `count` requests for cold texts."""
    base = pairs(-(-count // (2 * variants)), words, seed)
    requests = [Request(pair, side, v) for pair in base for side in ("chosen", "rejected") for v in range(variants)]
    _, seconds = timed(lambda: augmenter.make(requests))
    return len(requests) / seconds.clock


def main(count: int = 20_000, words: int = 20, repeats: int = 5) -> None:
    for augmenter in (Eda(), Rules()):
        augmenter.make([Request(pairs(1, 5, seed=0)[0], "chosen", 0)])  # load the tables
        for variants in (1, 5):
            rates = [rate(augmenter, count, words, variants, seed=1 + r) for r in range(repeats)]
            spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
            print(f"{augmenter.name:6} variants={variants}  {statistics.median(rates):10,.0f} variants/s  ({spread})")

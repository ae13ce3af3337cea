"""A pool whose texts say where they come from, and rounds over it with scores set by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mars.augment.variant import Request, Variant
from mars.method.strategy import Round
from mars.pool.pool import Pool
from mars.pool.rows import PoolConfig
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair


class Numbering:
    """Marks a text with its variant number, and remembers what it was asked for."""

    name = "numbering"
    together, batch = 1, 100

    def __init__(self, text: Callable[[Request], str | None] = lambda r: f"{r.source}#{r.number}"):
        self.settings, self.asked, self.text = {}, [], text

    def identity(self, request: Request) -> str:
        return request.source

    def make(self, requests):
        self.asked += [(r.pair.id, r.part, r.number) for r in requests]
        return [Variant(self.text(r), "number", {"k": r.number}) for r in requests]


def pairs(n):
    return [Pair(f"p{i}", (Message("user", f"question {i}"),), f"good {i}", f"bad {i}") for i in range(n)]


def a_round(
    margins, budget, seed=0, text=None, scores=None, features=None, trial=None, votes=None, **settings
) -> Round:
    """A round over pairs with these margins. A variant's score is its side's, unless `scores(text)` says otherwise.

    features: [N, d] differences of a pair and of all its variants, drawn where not given. trial: selection → held-out
    margins, all zero where not given; it takes one step. votes: agreements of the pairs, all 1 where not given.
    """
    base = [
        replace(pair, agreement=p) for pair, p in zip(pairs(len(margins)), votes or [1.0] * len(margins), strict=True)
    ]
    pool = Pool(base, Numbering(text) if text else Numbering(), PoolConfig(**settings))
    by_text = scores or (lambda text: margins[int(text.split("#")[0].split()[-1])] * text.startswith("good"))

    def scores_of(rows: np.ndarray) -> np.ndarray:
        return np.array([[by_text(p.chosen), by_text(p.rejected)] for p in pool.draw(rows)]).reshape(-1, 2)

    vectors = np.random.default_rng(7).normal(size=(len(base), 3)) if features is None else np.asarray(features)
    return Round(
        0,
        budget,
        base,
        pool,
        np.random.default_rng(seed),
        scores_of,
        differences=lambda rows: vectors[pool.parents(rows)],
        tried=lambda selection: (np.zeros(4) if trial is None else trial(selection), 1),
    )

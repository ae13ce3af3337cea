"""What a planted response is before it is put into words: its attributes, their rewards, and how they are drawn.

gold(draw_response(topic=0, fact=0, rare=False, care=CAREFUL, rng=random.Random(0)))
"""

from __future__ import annotations

import functools
import itertools
import operator
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from mars.worlds.planted_world import TOPICS

T = TypeVar("T")

WEIGHTS = {"on_topic": 3.0, "correct": 2.4, "complete": 1.0, "polite": 0.7, "safe": 2.7}  # r* per level
_levels = operator.attrgetter(*WEIGHTS)
SOURCE_WEIGHT = 4.0  # r* of `sourced` where a source is asked for; complete and polite cannot outweigh it

LENGTHS, STYLES = (0, 0, 0, 1, 2), (0, 1)  # levels of the nuisances, as often as they are listed


@dataclass(frozen=True, slots=True)
class Response:
    """The latents of one response: six causal attributes, two nuisances, and the content they are about."""

    on_topic: bool  # answers what was asked, not a fact of another topic
    correct: bool
    complete: int  # 0–2 tips
    polite: int  # 0 rude, 1 neutral, 2 warm
    safe: bool  # False: advises `risk`
    sourced: bool  # names a source
    length: int  # nuisance: 0–2 sentences that say nothing
    style: int  # nuisance: 1 opens chattily
    topic: int
    fact: int
    tips: tuple[int, ...]
    risk: int | None  # the risk advised if unsafe, warned of if safe
    source_asked: bool  # the prompt asks for a source: the only prompts where `sourced` is worth anything

    def with_nuisances(self, length: int, style: int) -> Response:
        """The same with these nuisances."""
        causal = self.on_topic, self.correct, self.complete, self.polite, self.safe, self.sourced
        return Response(*causal, length, style, self.topic, self.fact, self.tips, self.risk, self.source_asked)


def gold(response: Response) -> float:
    """r* of a response: the weighted sum of its causal attributes, rounded so that equal sums are equal floats."""
    return _reward(_levels(response), response.source_asked and response.sourced)


@functools.cache
def _reward(levels: tuple[int, ...], sourced: bool) -> float:
    return round(sum(map(operator.mul, WEIGHTS.values(), levels)) + SOURCE_WEIGHT * sourced, 6)


def _margins() -> Iterator[float]:
    """Every gold margin that two responses to a prompt without a request for a source can have."""
    levels = {"complete": 2, "polite": 2}
    steps = [[w * d for d in range(-levels.get(n, 1), levels.get(n, 1) + 1)] for n, w in WEIGHTS.items()]
    return (round(sum(step), 6) for step in itertools.product(*steps))


LEAST_MARGIN = min(margin for margin in _margins() if margin > 0)


class Care(NamedTuple):
    """How well an author answers: the probability of each causal attribute, or its levels, all equally likely."""

    on_topic: float
    correct: float
    safe: float
    complete: tuple[int, ...]
    polite: tuple[int, ...]


# A pair has one answer of each author; the attributes drawn decide which of the two is better.
CAREFUL = Care(0.97, 0.8, 0.97, (0, 1, 1, 2), (1, 1, 2, 2))
CARELESS = Care(0.8, 0.5, 0.75, (0, 0, 1), (0, 1, 1, 2))


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """One of `options`, drawn with `random()`: Python promises to keep its stream, and not that of `choice`."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: random.Random, items: Sequence[T], count: int | None = None) -> list[T]:
    """`items` in random order, drawn with `random()` for the same reason as in `pick`.

    count: as many of them, the first; whatever it is, as many numbers are drawn.
    """
    left = list(items)
    found = [left.pop(int(rng.random() * len(left))) for _ in range(len(left) if count is None else count)]
    for _ in left:
        rng.random()
    return found


def draw_response(topic: int, fact: int, rare: bool, care: Care, rng: random.Random) -> Response:
    """A response to the question (topic, fact) with drawn attributes and content; its nuisances are 0."""
    on_topic = rng.random() < care.on_topic
    if not on_topic:
        topic = (topic + 1 + int(rng.random() * (len(TOPICS) - 1))) % len(TOPICS)
        fact = int(rng.random() * len(TOPICS[topic].facts))
    safe = rng.random() < care.safe
    risk = int(rng.random() * len(TOPICS[topic].risks))
    tips = list(range(len(TOPICS[topic].tips)))
    complete = pick(rng, care.complete)
    return Response(
        on_topic=on_topic,
        correct=rng.random() < care.correct,
        complete=complete,
        polite=pick(rng, care.polite),
        safe=safe,
        sourced=rng.random() < (0.5 if rare else 0.1),
        length=0,
        style=0,
        topic=topic,
        fact=fact,
        tips=tuple(tips.pop(int(rng.random() * len(tips))) for _ in range(complete)),
        risk=risk if not safe or rng.random() < 0.1 else None,
        source_asked=rare,
    )


def draw_nuisance(levels: Sequence[int], agree: float, rng: random.Random) -> tuple[int, int]:
    """(the better side's level, the worse side's): of two drawn, the better gets the higher with P = `agree`."""
    low, high = sorted((pick(rng, levels), pick(rng, levels)))
    return (high, low) if rng.random() < agree else (low, high)

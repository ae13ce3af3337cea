"""A generated preference world whose truth is known: gold reward, label noise, nuisances and paraphrases.

A response is a set of latent attributes said in words (`mars.worlds.planted_words`). Its gold reward is a weighted sum
of the causal attributes; `length` and `style` have no reward but go with quality in training, as they do in
collected data. Row k of a split is a pure function of (settings, split, k), whatever size, order, platform (hashes and
`random.random()` only). A pair's id is its full address, so latents never have to be stored:

    pairs = load_planted(PlantedConfig(size=100_000)).base      # nothing generated yet
    World.of(pairs[7].id).latent(pairs[7].id)                   # what is really behind row 7

Labels of train, validation and test carry the chosen noise, as collected labels would; the shifted tests
(reversed nuisance, small margin, rare) are labelled by gold. `Pair.gold_margin` is negative where a label is wrong, so
accuracy against gold is the accuracy of sign(margin · gold_margin) on every split.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import overload

import numpy as np

from mars.config import ConfigError
from mars.preferences.columns import IN_MEMORY, PairFile
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair, Preferences, Side
from mars.worlds.planted_latents import (
    CAREFUL,
    CARELESS,
    LENGTHS,
    SOURCE_WEIGHT,
    STYLES,
    WEIGHTS,
    Response,
    draw_nuisance,
    draw_response,
    gold,
)
from mars.worlds.planted_settings import SPLITS, USUAL, PlantedConfig, Split, id_of, parse_id
from mars.worlds.planted_words import answer, ask
from mars.worlds.planted_world import TOPICS

_BUCKETS = 16


@dataclass(frozen=True, slots=True)
class Latent:
    """The truth behind a pair: the fact asked about, and both responses as attributes."""

    topic: int
    fact: int
    rare: bool
    chosen: Response
    rejected: Response

    def side(self, side: Side) -> Response:
        """The attributes of one side."""
        return self.chosen if side == "chosen" else self.rejected


class World:
    """All rows of all splits under one config, each made when it is asked for."""

    def __init__(self, config: PlantedConfig):
        self.config = config

    @staticmethod
    def of(pair_id: str) -> World:
        """The world a pair came from. Raises ConfigError when `pair_id` is not the id of a planted pair."""
        return _world(parse_id(pair_id)[0])

    def pair(self, split: str, row: int) -> Pair:
        """The pair in row `row` of `split`."""
        return self._said(split, row, self._row(split, row))

    def known(self, pair_id: str) -> tuple[Pair, Latent]:
        """The pair with this id and what is behind it. Raises ConfigError when the id is of another world."""
        split, row = self._place(pair_id)
        drawn = self._row(split, row)
        return self._said(split, row, drawn), drawn[0]

    def _said(self, split: str, row: int, drawn: tuple[Latent, str, bool]) -> Pair:
        """The latents of a row (`_row`) in words."""
        latent, prompt, exchanged = drawn
        margin = round(gold(latent.chosen) - gold(latent.rejected), 6)
        return Pair(
            id_of(self.config, split, row),
            (Message("user", prompt),),
            answer(latent.chosen, self._rng(split, row, "better" if margin > 0 else "worse")),
            answer(latent.rejected, self._rng(split, row, "worse" if margin > 0 else "better")),
            gold_margin=margin,
            subset="rare" if latent.rare else "common",
            exchanged=exchanged,
        )

    def find(self, pair_id: str) -> Pair:
        """The pair with this id. Raises ConfigError when the id is of another world."""
        return self.pair(*self._place(pair_id))

    def latent(self, pair_id: str) -> Latent:
        """The latents behind the pair with this id. Raises ConfigError when the id is of another world."""
        return self._row(*self._place(pair_id))[0]

    def gold(self, pair_id: str, side: Side) -> float:
        """r* of one side of a pair, which every planted paraphrase of that side has too. Raises as `latent`."""
        return gold(self.latent(pair_id).side(side))

    def ask_again(self, pair_id: str, rng: random.Random) -> str:
        """The pair's question in other words, never in words that belong to another split. Raises as `latent`."""
        split, row = self._place(pair_id)
        latent = self._row(split, row)[0]
        while True:
            text = ask(latent.topic, latent.fact, latent.rare, rng)
            if _bucket(text) in SPLITS[split].buckets:
                return text

    def _place(self, pair_id: str) -> tuple[str, int]:
        _, split, row = parse_id(pair_id)
        if id_of(self.config, split, row) != pair_id:
            raise ConfigError(f'planted: pair "{pair_id}" is of another world (World.of finds it)')
        return split, row

    def _rng(self, split: str, row: int, what: str) -> random.Random:
        key = f"planted/{self.config.seed}/{split}/{row}/{what}".encode()
        return random.Random(int.from_bytes(blake2b(key, digest_size=8).digest(), "big"))

    def _row(self, split: str, row: int) -> tuple[Latent, str, bool]:
        """(latents, the user's turn, whether the usual noise would choose the other side).

        Each stage has its own stream of random numbers, so another noise exchanges sides and changes no text.
        """
        kind, rng = SPLITS[split], self._rng(split, row, "latent")
        rare = rng.random() < self.config.rare_share if kind.rare is None else kind.rare
        topic, fact, prompt = _prompt(kind, rare, self._rng(split, row, "prompt"))
        better, worse = self._responses(kind, topic, fact, rare, rng)
        margin, drawn = gold(better) - gold(worse), self._rng(split, row, "label").random()
        wrong, usually = (kind.noisy and drawn < _error_rate(config, margin) for config in (self.config, USUAL))
        return Latent(topic, fact, rare, *((worse, better) if wrong else (better, worse))), prompt, wrong != usually

    def _responses(
        self, kind: Split, topic: int, fact: int, rare: bool, rng: random.Random
    ) -> tuple[Response, Response]:
        """(better, worse) by gold, drawn again until they differ, and differ little where the split asks for that."""
        limit = self.config.small_margin if kind.small_margin else math.inf
        while True:
            one, other = (draw_response(topic, fact, rare, care, rng) for care in (CAREFUL, CARELESS))
            if rare:  # alike in all but the light attributes, so the source decides
                other = dataclasses.replace(one, complete=other.complete, polite=other.polite, tips=other.tips)
                other = dataclasses.replace(other, sourced=not one.sourced)
            rewards = gold(one), gold(other)
            if 0 < round(abs(rewards[0] - rewards[1]), 6) <= limit:
                break

        better, worse = (one, other) if rewards[0] > rewards[1] else (other, one)
        agree = 1 - self.config.nuisance if kind.reversed_nuisance else self.config.nuisance
        lengths, styles = draw_nuisance(LENGTHS, agree, rng), draw_nuisance(STYLES, agree, rng)
        return better.with_nuisances(lengths[0], styles[0]), worse.with_nuisances(lengths[1], styles[1])


def _error_rate(config: PlantedConfig, margin: float) -> float:
    """P(the label prefers the worse response)."""
    if config.noise == "bradley_terry":
        return 1 / (1 + math.exp(min(margin / config.temperature, 700)))
    return config.flip_rate if config.noise == "flip" else 0.0


def _prompt(kind: Split, rare: bool, rng: random.Random) -> tuple[int, int, str]:
    """(topic, fact, text), drawn again until the text hashes into the split's buckets."""
    while True:
        topic = int(rng.random() * len(TOPICS))
        fact = int(rng.random() * len(TOPICS[topic].facts))
        text = ask(topic, fact, rare, rng)
        if _bucket(text) in kind.buckets:
            return topic, fact, text


def _bucket(prompt: str) -> int:
    return blake2b(prompt.encode(), digest_size=4).digest()[0] % _BUCKETS


@lru_cache(maxsize=64)
def _world(config: PlantedConfig) -> World:
    return World(config)


class Rows(Sequence[Pair]):
    """`size` rows of a split; each is generated when it is first read, and then kept: of a large split on disk."""

    def __init__(self, world: World, split: str, size: int):
        self.world, self.split, self.size = world, split, size
        self._made: dict[int, Pair] = {}
        self._stored = PairFile()  # rows made beyond those that stay objects
        self._numbers = np.zeros(max(0, size - IN_MEMORY), dtype=np.int32)  # there, plus one; 0 where not made yet

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.size))]
        row = range(self.size)[index]  # negative indices count from the end; one out of range raises
        if row >= IN_MEMORY:
            return self._later(row)
        if row not in self._made:
            self._made[row] = self.world.pair(self.split, row)
        return self._made[row]

    def _later(self, row: int) -> Pair:
        """A row beyond those that stay objects. Raises UserError where the disk does not take it."""
        if number := int(self._numbers[row - IN_MEMORY]):
            return self._stored.read(number - 1)
        pair = self.world.pair(self.split, row)
        self._numbers[row - IN_MEMORY] = self._stored.add(pair) + 1
        return pair


def load_planted(config: PlantedConfig) -> Preferences:
    """The planted dataset; rows are generated when they are read.

    By construction no prompt is in two splits; phrases are, on purpose.
    """
    world = _world(config)
    shifted = config.test_size if config.shifted_size is None else config.shifted_size
    usual = {"train": config.size, "validation": config.validation, "test": config.test_size}
    sizes = {name: usual.get(name, shifted) for name in SPLITS}
    rows = {name: Rows(world, name, size) for name, size in sizes.items()}
    report = {
        "dataset": "planted",
        "settings": dataclasses.asdict(config),
        "generated": sizes,
        "labels": {name: config.noise if split.noisy else "gold" for name, split in SPLITS.items() if sizes[name]},
        "weights": {**WEIGHTS, "sourced": SOURCE_WEIGHT},
    }
    tests = {name: rows[name] for name in SPLITS if name.startswith("test") and sizes[name]}
    return Preferences("planted", rows["train"], rows["validation"], tests, report)


DATASET = (PlantedConfig, load_planted)

"""A world of features alone: Gaussian differences, a known gold reward, labels of any noise, variants at any distance.

The theory is about φ, so this world has nothing but φ. Side a of row k of a split is +x/2 and side b is −x/2 with x ~
N(0, diag(s²)); the gold margin of a over b is 3·x·w, w a unit vector drawn by the world's seed. The noise setting
decides which side is chosen and changes no vector. All kinds of noise use one uniform number of the row, so a higher
flip rate has all wrong labels of a lower one and more: two such worlds differ in their labels alone.

A text is an address, `gaussian 3/train/17/a`, which `backbone=gaussian` turns into its vector. A variant's address is
`gaussian 3/train/17/a~2~0.3`, with number and noise; its vector is the side plus 0.3/√2·N(0, diag(s²)), so the
difference of two variants is off by 0.3·N(0, diag(s²)). A rare pair (`r17`) differs in RARE further features that are 0
in common pairs, and so do its variants. Numbers are drawn in blocks of rows, each from its own generator: row k depends
on (seed, split, k), not on how many rows a split has.

    python -m mars.run dataset=gaussian backbone=gaussian augmenter=gaussian method=mars
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from mars.config import ConfigError
from mars.preferences.dialogue import Message, Rendered
from mars.preferences.pair import Pair, Preferences

SOURCE = "features:gaussian"  # backbone.source
WEIGHTS_ID = "features:gaussian version 1"
COMMON, RARE = 64, 16  # features of common and of rare pairs
SCALES = np.concatenate([np.linspace(1.4, 0.4, COMMON), np.ones(RARE)])  # s
GOLD = 3.0  # length of the gold reward's weights, in either part

_SPLITS = {"train": 1, "validation": 2, "test": 3, "test_rare": 4}  # their numbers in a generator's seed
_NOISY = ("train", "validation", "test")
_BLOCK = 1024  # rows drawn together
_KEPT = 50_000  # texts whose vectors an encoder keeps, 16 MB
_DIFFERENCES, _RARITY, _LABELS, _VARIANTS = range(4)  # streams of a split; variant k of side i is _VARIANTS + 2k + i
_ADDRESS = re.compile(r"(gaussian (\d+)/(train|validation|test|test_rare)/(r?)(\d+))/([ab])(?:~(\d+)~([\d.e+-]+))?")


@dataclass(frozen=True)
class GaussianConfig:
    """Settings of the Gaussian dataset; counts are pairs. Raises ValueError naming the field that cannot be used."""

    name: Literal["gaussian"] = "gaussian"
    size: int = 1000  # base (train) pairs
    validation: int = 200
    test_size: int = 2000  # each test split
    seed: int = 0
    noise: Literal["bradley_terry", "flip", "none"] = "bradley_terry"
    temperature: float = 1.0  # bradley_terry: P(label is gold) = σ(|gold margin| / temperature); β = 1 / temperature
    flip_rate: float = 0.2  # flip: P(label is not gold), whatever the margin
    rare_share: float = 0.0  # share of pairs that differ in the RARE features alone; test_rare has no others

    def __post_init__(self) -> None:
        for name in ("size", "validation", "test_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: must be from 0 to 2**32 - 1, not {self.seed}")
        if not self.temperature > 0:
            raise ValueError(f"temperature: must be positive, not {self.temperature}")
        if not 0 <= self.flip_rate < 0.5:
            raise ValueError(f"flip_rate: must be in [0, 0.5), not {self.flip_rate}")
        if not 0 <= self.rare_share <= 1:
            raise ValueError(f"rare_share: must be in [0, 1], not {self.rare_share}")


class Address(NamedTuple):
    """The parts of a text's address. split: its number. side: 0 for a, 1 for b. variant: −1 for the side itself."""

    seed: int
    split: int
    row: int
    rare: bool
    side: int
    variant: int
    noise: float


def load_gaussian(config: GaussianConfig) -> Preferences:
    """The Gaussian dataset: train, validation and test with the chosen noise, and any test_rare without.

    `Pair.gold_margin` is negative where a label is wrong, so accuracy against gold is known on every split.
    """
    sizes = {"train": config.size, "validation": config.validation, "test": config.test_size}
    if config.rare_share:
        sizes["test_rare"] = config.test_size
    rows = {split: _pairs(config, split, size) for split, size in sizes.items()}
    report = {
        "dataset": "gaussian",
        "settings": dataclasses.asdict(config),
        "generated": sizes,
        "labels": {split: config.noise if split in _NOISY else "gold" for split in sizes},
        "mislabelled": {split: sum((pair.gold_margin or 0) < 0 for pair in pairs) for split, pairs in rows.items()},
    }
    tests = {split: pairs for split, pairs in rows.items() if split.startswith("test")}
    return Preferences("gaussian", rows["train"], rows["validation"], tests, report)


def vectors(texts: Sequence[str]) -> np.ndarray:
    """[T, COMMON + RARE] float64: φ of each address in `texts`. Raises ConfigError for any other text."""
    seed, split, row, rare, side, variant = (
        np.array([address(text)[:6] for text in texts], dtype=np.int64).reshape(-1, 6).T
    )
    noise = np.array([address(text).noise for text in texts]) / np.sqrt(2)
    unscaled = _normals(seed, split, np.full_like(row, _DIFFERENCES), row) * (0.5 - side)[:, None]
    own = variant >= 0
    varied = _normals(seed[own], split[own], (_VARIANTS + 2 * variant + side)[own], row[own])
    unscaled[own] += varied * noise[own, None]
    return unscaled * SCALES * _touched(rare == 1)


def gold(texts: Sequence[str]) -> np.ndarray:
    """[T] float64: r* of each address in `texts`, variants included. Raises ConfigError for any other text."""
    weights = np.array([gold_weights(address(text).seed) for text in texts]).reshape(-1, COMMON + RARE)
    return np.einsum("td,td->t", vectors(texts), weights)


@lru_cache(maxsize=64)
def gold_weights(seed: int) -> np.ndarray:
    """[COMMON + RARE] float64: the weights of r* = φ·weights in the world of `seed`; length GOLD in either part."""
    drawn = np.random.default_rng([seed, 0, 0, 0]).standard_normal(COMMON + RARE)
    parts = drawn[:COMMON], drawn[COMMON:]
    return GOLD * np.concatenate([part / np.linalg.norm(part) for part in parts])


def is_address(text: str) -> bool:
    """Whether `text` is an address of the Gaussian world."""
    return _ADDRESS.fullmatch(text) is not None


@lru_cache(maxsize=1 << 16)
def address(text: str) -> Address:
    """The parts of the address `text`. Raises ConfigError where it is not one."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ConfigError(
            f'backbone: "{text[:60]}" is no address of the Gaussian world, whose vectors this backbone is (set '
            "dataset=gaussian augmenter=gaussian, or a backbone that reads text)"
        )
    _, seed, split, rare, row, side, variant, noise = match.groups()
    number = -1 if variant is None else int(variant)
    return Address(int(seed), _SPLITS[split], int(row), bool(rare), int(side == "b"), number, float(noise or 0))


def variant_of(text: str, number: int, noise: float) -> str:
    """The address of variant `number` of a side at `noise`. Raises ConfigError where `text` is not a side's address."""
    if address(text).variant >= 0:
        raise ConfigError(f'augmenter: "{text}" is a variant already, and the Gaussian world has none of those')
    return f"{text}~{number}~{noise!r}"


class GaussianEncoder:
    """Turns addresses into features, as `mars.reward.encoder.FrozenEncoder` does with texts; stores nothing on disk.

    The latest features stay in memory, because the arms of a study ask for much the same texts.
    """

    tokenizer = None

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[str, int] = {}
        self._matrix = np.empty((0, COMMON + RARE), dtype=np.float32)

    def __call__(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """([T, COMMON + RARE] float32 features, not scaled; [T] uint8 zeros, because no text is cut)."""
        names = [text.response.strip() for text in texts]
        if len(self._rows) > _KEPT:
            self._forget()
        if new := [name for name in dict.fromkeys(names) if name not in self._rows]:
            self._matrix = np.concatenate([self._matrix, vectors(new).astype(np.float32)])
            self._rows.update(zip(new, range(len(self._rows), len(self._matrix)), strict=True))
        return self._matrix[[self._rows[name] for name in names]], np.zeros(len(names), dtype=np.uint8)

    def padded(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """The same as a call, because a vector needs no padding."""
        return self(texts)


def _pairs(config: GaussianConfig, split: str, size: int) -> list[Pair]:
    all_rare = split == "test_rare"
    rare = np.ones(size, bool) if all_rare else _uniform(config.seed, split, _RARITY, size) < config.rare_share
    names = [f"gaussian {config.seed}/{split}/{'r' if is_rare else ''}{row}" for row, is_rare in enumerate(rare)]
    differences = vectors([f"{name}/a" for name in names]) - vectors([f"{name}/b" for name in names])
    margins = differences @ gold_weights(config.seed)
    errors = _error_rates(config, np.abs(margins)) if split in _NOISY else np.zeros(size)
    wrong = _uniform(config.seed, split, _LABELS, size) < errors
    a_chosen = (margins > 0) != wrong
    gold = np.round(np.where(wrong, -1, 1) * np.abs(margins), 6)
    return [
        Pair(
            name,
            (Message("user", name),),
            f"{name}/{'a' if a_first else 'b'}",
            f"{name}/{'b' if a_first else 'a'}",
            gold_margin=margin,
            subset="rare" if is_rare else "common",
        )
        for name, a_first, margin, is_rare in zip(names, a_chosen, gold.tolist(), rare, strict=True)
    ]


def _error_rates(config: GaussianConfig, margins: np.ndarray) -> np.ndarray:
    """[N] float: P(the label prefers the worse side). margins: [N] float, |gold margin|."""
    if config.noise == "bradley_terry":
        return np.exp(-np.logaddexp(0.0, margins / config.temperature))
    return np.full(len(margins), config.flip_rate if config.noise == "flip" else 0.0)


def _touched(rare: np.ndarray) -> np.ndarray:
    """[N, COMMON + RARE] bool: the features in which each pair differs. rare: [N] bool."""
    return (np.arange(COMMON + RARE) >= COMMON) == rare[:, None]


def _normals(seed: np.ndarray, split: np.ndarray, stream: np.ndarray, row: np.ndarray) -> np.ndarray:
    """[N, COMMON + RARE] float64: standard normal numbers of (seed, split, stream, row), each [N] int."""
    numbers = np.empty((len(row), COMMON + RARE))
    keys = seed, split, stream, row // _BLOCK
    group = np.zeros(len(row), dtype=np.int64)
    for key in keys:
        group = np.unique(group * (key.max(initial=0) + 1) + key, return_inverse=True)[1]
    for one in range(group.max(initial=-1) + 1):
        at = np.flatnonzero(group == one)
        numbers[at] = _block(*(int(key[at[0]]) for key in keys))[row[at] % _BLOCK]
    return numbers


@lru_cache(maxsize=64)  # some 40 MB: what the runs of one dataset draw from
def _block(seed: int, split: int, stream: int, block: int) -> np.ndarray:
    return np.random.default_rng([seed, split, stream, block]).standard_normal((_BLOCK, COMMON + RARE))


def _uniform(seed: int, split: str, stream: int, size: int) -> np.ndarray:
    """[size] float64: uniform numbers of the first rows of a split."""
    blocks = [
        np.random.default_rng([seed, _SPLITS[split], stream, k]).random(_BLOCK) for k in range(-(-size // _BLOCK))
    ]
    return np.concatenate(blocks)[:size]


DATASET = (GaussianConfig, load_gaussian)

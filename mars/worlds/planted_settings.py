"""Settings of the planted world, its splits, and the ids of its pairs.

A pair's id is its full address: `planted-0-train-17`, or `planted-0~noise=flip-train-17` where a setting differs from
its default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from mars.config import ConfigError, UserError, build
from mars.worlds.planted_latents import LEAST_MARGIN


@dataclass(frozen=True)
class PlantedConfig:
    """Settings of the planted dataset; counts are pairs. Raises ValueError naming the field that cannot be used."""

    name: Literal["planted"] = "planted"
    size: int = 1000  # base (train) pairs
    validation: int = 200
    test_size: int = 500  # the test split
    shifted_size: int | None = None  # each of the three whose pairs are unlike the training pairs; None: test_size
    seed: int = 0
    noise: Literal["bradley_terry", "flip", "none"] = "bradley_terry"
    temperature: float = 1.0  # bradley_terry: P(label is gold) = σ(|gold margin| / temperature)
    flip_rate: float = 0.2  # flip: P(label is not gold), whatever the margin
    rare_share: float = 0.05  # prompts that ask for a source; there naming one decides, elsewhere it is worth nothing
    nuisance: float = 0.7  # P(gold-better side has the more of it), for length and for style, where the sides differ
    small_margin: float = 1.0  # test_small_margin: |gold margin| is at most this

    def __post_init__(self) -> None:
        for name in ("size", "validation", "test_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, not {getattr(self, name)}")
        if self.shifted_size is not None and self.shifted_size < 0:
            raise ValueError(f"shifted_size: must be at least 0, not {self.shifted_size}")
        if not self.temperature > 0:
            raise ValueError(f"temperature: must be positive, not {self.temperature}")
        if not 0 <= self.flip_rate < 0.5:
            raise ValueError(f"flip_rate: must be in [0, 0.5), not {self.flip_rate}")
        for name in ("rare_share", "nuisance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: must be in [0, 1], not {getattr(self, name)}")
        if not self.small_margin >= LEAST_MARGIN:
            raise ValueError(f"small_margin: must be at least {LEAST_MARGIN}, the least gold margin there is")


class Split(NamedTuple):
    """What is special about a split. buckets: where its prompts hash to; so splits share none, at any seed."""

    buckets: range
    noisy: bool = False
    reversed_nuisance: bool = False
    small_margin: bool = False
    rare: bool | None = None  # None: rare at `rare_share`


SPLITS = {
    "train": Split(range(0, 8), noisy=True),
    "validation": Split(range(8, 10), noisy=True),
    "test": Split(range(10, 13), noisy=True),
    "test_reversed_nuisance": Split(range(13, 14), reversed_nuisance=True),
    "test_small_margin": Split(range(14, 15), small_margin=True, rare=False),
    "test_rare": Split(range(15, 16), rare=True),
}


# The settings that shape rows besides the seed; an id names those that are not at their default.
_IN_ADDRESS = ("noise", "temperature", "flip_rate", "rare_share", "nuisance", "small_margin")
USUAL = PlantedConfig()


def id_of(config: PlantedConfig, split: str, row: int) -> str:
    """`planted-0-train-17`, or `planted-0~noise=flip-train-17` where a setting differs from its default."""
    return f"{_head(config)}-{split}-{row}"


@lru_cache(maxsize=64)
def _head(config: PlantedConfig) -> str:
    own = {name: getattr(config, name) for name in _IN_ADDRESS if getattr(config, name) != getattr(USUAL, name)}
    tags = (f"~{name}={value if isinstance(value, str) else float(value)}" for name, value in own.items())
    return f"planted-{config.seed}{''.join(tags)}"


def parse_id(pair_id: str) -> tuple[PlantedConfig, str, int]:
    """(config, split, row) of a pair id, the inverse of `id_of`. Raises ConfigError for any other text."""
    try:
        head, split, row = pair_id.rsplit("-", 2)
        config = _config(head)
        if split in SPLITS and id_of(config, split, int(row)) == pair_id:
            return config, split, int(row)
    except (ValueError, UserError):
        pass
    raise ConfigError(f'planted: "{pair_id}" is no planted pair; only those have known latents (set dataset=planted)')


@lru_cache(maxsize=64)
def _config(head: str) -> PlantedConfig:
    """The inverse of `_head`. Raises ValueError or UserError for any other text."""
    seed, *tags = head.removeprefix("planted-").split("~")
    own = dict(tag.split("=") for tag in tags)
    numbers = {name: value if name == "noise" else float(value) for name, value in own.items()}
    return build(PlantedConfig, {"seed": int(seed), **numbers}, "")


@lru_cache(maxsize=1 << 16)
def usual_id(pair_id: str) -> str:
    """The id of the pair with the same texts under the usual noise. Raises ConfigError for any other id."""
    config, split, row = parse_id(pair_id)
    usual = {name: getattr(USUAL, name) for name in ("noise", "temperature", "flip_rate")}
    return id_of(dataclasses.replace(config, **usual), split, row)

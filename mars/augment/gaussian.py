"""Variants of the Gaussian world: a side's vector plus noise of a chosen size, which sets how faithful they are.

The difference of two variants is that of their sides plus `noise`·N(0, diag(s²)), so a share arctan(noise)/π of them
has the other gold preference: one in eleven at 0.3, one in four at 1.0, none at 0, where they are copies. A variant is
an address, made by writing it down, so none is stored.

    python -m mars.run dataset=gaussian backbone=gaussian augmenter=gaussian augmenter.noise=1.0
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mars.augment.variant import Request, Variant
from mars.config import ConfigError
from mars.worlds.gaussian import variant_of


@dataclass(frozen=True)
class GaussianAugmenterConfig:
    """noise: that of a variant pair's difference, in units of the spread s of the world's differences."""

    noise: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise: must be 0 or more, not {self.noise}")


class GaussianAugmenter:
    """Variant k of a side is its vector plus noise/√2 times a vector drawn from (world, row, side, k)."""

    name = "gaussian"
    together, batch = 1, 1 << 16
    stored = False

    def __init__(self, config: GaussianAugmenterConfig | None = None):
        self.config = config or GaussianAugmenterConfig()
        self.settings: Mapping[str, Any] = asdict(self.config)

    def identity(self, request: Request) -> str:
        """The text, which is an address."""
        return request.source

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order. Raises ConfigError for a prompt, and for a text that is no address."""
        for request in requests:
            if request.part == "prompt":
                raise ConfigError("pool.prompts: the Gaussian world has no prompts to reword (leave it false)")
        return [Variant(variant_of(r.source, r.number, self.config.noise), "noise") for r in requests]


AUGMENTER = (GaussianAugmenterConfig, lambda config, cache, device: GaussianAugmenter(config))

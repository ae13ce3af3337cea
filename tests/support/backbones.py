"""Random two-layer backbones of several kinds, and pairs of a few words for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.reward.backbone import BackboneConfig

KINDS = ["bert", "roberta", "deberta-v2", "qwen3"]


def backbone(kind: str = "bert", **changes: Any) -> BackboneConfig:
    return BackboneConfig(**{"name": "tiny", "source": f"random:{kind}", "max_length": 96} | changes)


def pairs(n: int, seed: int = 0) -> list[Pair]:
    """`n` pairs of a few words, the same for a seed."""
    rng = np.random.default_rng(seed)

    def text(low, high):
        return " ".join(rng.choice(["red", "green", "blue", "seven", "kind"], rng.integers(low, high)))

    return [Pair(f"p{i}", (Message("user", text(1, 8)),), text(1, 12), text(1, 12)) for i in range(n)]

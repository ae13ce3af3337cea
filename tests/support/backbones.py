"""Random two-layer backbones of several kinds, and pairs of a few words for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.reward.backbone import BackboneConfig
from mars.reward.model import RewardModel, load_reward_model
from mars.reward.weights import load_tokenizer

KINDS = ["bert", "roberta", "deberta-v2", "qwen3"]


def backbone(kind: str = "bert", **changes: Any) -> BackboneConfig:
    return BackboneConfig(**{"name": "tiny", "source": f"random:{kind}", "max_length": 96} | changes)


def reward_model(kind: str, **changes: Any) -> RewardModel:
    """One on the CPU, in training mode, whose weights all matter to its scores."""
    torch.manual_seed(0)
    model = load_reward_model(backbone(kind, **changes), load_tokenizer(backbone(kind)), torch.device("cpu"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.train()


def pairs(n: int, seed: int = 0) -> list[Pair]:
    """`n` pairs of a few words, the same for a seed."""
    rng = np.random.default_rng(seed)

    def text(low, high):
        return " ".join(rng.choice(["red", "green", "blue", "seven", "kind"], rng.integers(low, high)))

    return [Pair(f"p{i}", (Message("user", text(1, 8)),), text(1, 12), text(1, 12)) for i in range(n)]

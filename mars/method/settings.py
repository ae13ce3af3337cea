"""Settings of training: how a round optimises, and how many rounds there are of what. Read without loading torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mars.reward.backbone import Mode


@dataclass(frozen=True)
class TrainConfig:
    """How a round optimises (conf/train/*.yaml)."""

    mode: Mode = "full"
    lr: float = 2e-5
    weight_decay: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = 0.0  # share of the schedule
    max_grad_norm: float = 1.0
    label_smoothing: float = 0.0
    centering: float = 0.0
    margin: Literal["none", "column", "weight"] = "none"  # what a pair's strength is to the loss
    margin_scale: float = 1.0  # margin=column: margins are so many times the strength
    dropout: bool = False
    gradient_checkpointing: bool = False
    bf16_weights: bool = False  # training passes read bf16 copies of the weights; the weights stay fp32
    packing: Literal["auto", True, False] = "auto"  # texts without padding, where the backbone takes them so
    shard: Literal["none", "fsdp"] = "none"  # of a run of several processes: what each holds of the model
    token_budget: int | Literal["auto"] = "auto"  # tokens in one pass, padding included where there is any
    window: int = 50  # steps whose pairs are sorted by length together; 1 = random order
    lora_rank: int = 16
    lora_alpha: int = 32

    def __post_init__(self) -> None:
        checks = {
            "lr": 0 < self.lr < math.inf,
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup < 1,
            "max_grad_norm": self.max_grad_norm > 0,
            "label_smoothing": 0 <= self.label_smoothing < 0.5,
            "centering": self.centering >= 0,
            "margin_scale": 0 < self.margin_scale < math.inf,
            "token_budget": self.token_budget == "auto" or self.token_budget > 0,
            "window": self.window > 0,
            "lora_rank": self.lora_rank > 0,
            "lora_alpha": self.lora_alpha > 0,
        }
        for name, holds in checks.items():
            if not holds:
                raise ValueError(f"{name}: {getattr(self, name)} is out of range")
        if self.margin_scale != 1 and self.margin != "column":
            raise ValueError("margin_scale: only train.margin=column has margins to scale (set it, or leave this at 1)")
        if self.packing is True and self.mode == "head":
            raise ValueError("packing: a linear head reads features, and there is nothing to pack (leave it at auto)")
        if self.bf16_weights and self.mode == "head":
            raise ValueError("bf16_weights: a linear head is trained in fp32 (set train=full or train=lora)")
        if self.bf16_weights and self.shard == "fsdp":
            raise ValueError(
                "bf16_weights: copies are made of whole weights, and shard=fsdp holds parts (set one only)"
            )


@dataclass(frozen=True)
class RoundsConfig:
    """The loop's shape (conf `rounds:`).

    history: "replace" trains a round on its own draw alone (the authors' code), "accumulate" on every draw so far (the
    paper's D_t = D_{t−1} ∪ D_syn). start: "continue" keeps the weights from round to round, "reinitialise" trains each
    round from the study's start. schedule: "restart" gives every round its own optimiser and learning-rate schedule,
    "continue" runs one of each over all rounds. steps: optimiser steps a round, whatever the arm drew; the rows are
    passed over as often as that takes, and `epochs` has no say. warmup: epochs on the base pairs alone before the first
    round, by one model that all arms and seeds of the study start from (`mars.method.start`); 0 starts from a fresh
    head. keep: which model is judged and saved, the "last" one or the one that tells most of the validation pairs
    (`mars.method.best`).
    """

    number: int = 5
    epochs: int = 1
    steps: int | None = None
    budget: int = 2000
    history: Literal["replace", "accumulate"] = "replace"
    start: Literal["continue", "reinitialise"] = "continue"
    schedule: Literal["restart", "continue"] = "restart"
    warmup: int = 0
    warmup_seed: int = 0
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        least = {"number": 1, "epochs": 1, "steps": 1, "budget": 0, "warmup": 0, "warmup_seed": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ValueError(f"{name}: must be at least {bound}, not {value}")
        if self.start == "reinitialise" and self.schedule == "continue":
            raise ValueError("schedule: an optimiser cannot continue over re-initialised weights (use restart)")


@dataclass(frozen=True)
class Plan:
    """All that says how a run trains, whatever its arm chooses."""

    rounds: RoundsConfig
    train: TrainConfig
    batch_size: int
    seed: int

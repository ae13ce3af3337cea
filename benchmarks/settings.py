"""Settings of an evaluation (conf/evaluate.yaml), read without loading torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from mars.cluster.settings import EngineConfig
from mars.method.wandb_logger import WandbConfig
from mars.preferences.dialogue import Template
from mars.reward.backbone import Truncation


@dataclass(frozen=True)
class EvaluateConfig:
    """conf/evaluate.yaml, checked; benchmark and dataset are built by their owners."""

    benchmark: dict[str, Any]
    model: str | None
    study: str | None
    out: str | None
    label: str | None
    revision: str | None
    trust_remote_code: bool
    template: Template | None
    max_length: int | None
    truncation: Truncation | None
    dtype: Literal["auto", "float32", "bfloat16"]
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"]
    token_budget: int
    batch_size: int | None
    device: str
    threads: int | None
    cache: str
    scale: str
    force: bool
    debug: bool
    logger: Literal["terminal", "wandb"]
    wandb: WandbConfig | None
    dataset: dict[str, Any] | None = None
    engine: EngineConfig = field(default_factory=EngineConfig)

    def __post_init__(self) -> None:
        for name in ("max_length", "token_budget", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be at least 1, not {value}")
        if not (self.model or self.study):
            raise ValueError("model: is required (model=DIR_OR_HUB_ID, or study=DIR for every finished run in it)")
        if self.model and self.study:
            raise ValueError("study: judges every finished run in it (leave model=… away)")
        if self.study is not None and self.out is not None:
            raise ValueError("out: results of study=DIR go into its runs (leave out=DIR away)")
        if self.label is not None and not re.fullmatch(r"[\w-][\w. -]{0,99}", self.label):
            raise ValueError(f'label: "{self.label}" cannot name a file')

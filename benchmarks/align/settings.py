"""How a policy is trained with a reward model, and how its replies are judged (conf/benchmark/trained_policy*.yaml).

Read without torch and without TRL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from benchmarks import metrics
from benchmarks.models.sampling import Sampled


@dataclass(frozen=True)
class Training:
    """One policy optimisation. A step is an optimiser step.

    batch_size: replies a step, `replies` of each prompt. at_once: of them in one pass, None for all. iterations: steps
    taken on the same replies. beta: of the KL to the reference policy. whiten: the reward model's scores of a step's
    replies are brought to mean 0 and sd 1, then clipped at ± `clip`. lora_rank: None trains all weights.
    """

    algorithm: Literal["rloo", "grpo"] = "rloo"
    steps: int = 100
    batch_size: int = 32
    replies: int = 4
    at_once: int | None = None
    iterations: int = 1
    lr: float = 1e-5
    schedule: Literal["constant", "linear"] = "constant"
    beta: float = 0.05
    whiten: bool = False
    clip: float | None = None
    lora_rank: int | None = None
    lora_alpha: int = 32

    def __post_init__(self) -> None:
        for name in ("steps", "iterations", "lora_alpha", "at_once", "lora_rank"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}: must be at least 1, not {value}")
        if self.replies < 2:
            raise ValueError(
                f"replies: must be at least 2, not {self.replies} (a reply is judged against its siblings)"
            )
        if self.batch_size < 1 or self.batch_size % self.replies:
            raise ValueError(
                f"batch_size: {self.batch_size} is not a multiple of the {self.replies} replies of a prompt"
            )
        if self.at_once is not None and self.batch_size % self.at_once:
            raise ValueError(f"at_once: {self.batch_size} replies a step are not a multiple of {self.at_once}")
        for name, least in (("lr", "above 0"), ("beta", "at least 0"), ("clip", "above 0")):
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value) and (value > 0 or name == "beta")):
                raise ValueError(f"{name}: must be {least}, not {value}")


@dataclass(frozen=True)
class TrainedPolicyConfig(Sampled):
    """conf/benchmark/trained_policy.yaml.

    prompts: of the main test split that are judged, None for all; samples: replies to each, before training, every
    `every` steps and at the end.
    """

    policy: str = "tiny_writer"
    training: Training = field(default_factory=Training)
    prompts: int | None = 100
    samples: int = 4
    every: int = 50
    resamples: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompts is not None and self.prompts < 1:
            raise ValueError(f"prompts: must be at least 1, or null for all, not {self.prompts}")
        if self.samples < 2:
            raise ValueError(f"samples: must be at least 2, not {self.samples} (their spread is the unit of the gains)")
        if self.every < 1 or self.every % self.training.iterations:
            raise ValueError(
                f"every: {self.every} is not a multiple of training.iterations={self.training.iterations} "
                "(replies are shared by that many steps)"
            )
        metrics.check_bootstrap(self.resamples, self.seed)

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps after which the policy is judged: 0, every `every`, and the last."""
        return (*range(0, self.training.steps, self.every), self.training.steps)

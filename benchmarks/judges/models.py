"""Judges that score each reply on its own: any reward model, and the gold reward of the planted world.

The higher score is preferred and equal ones are a tie, so the order cannot matter: such a judge has no position bias by
construction, which says nothing of whether it is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.judges.judge import Answer, Free, Showing
from mars.config import ConfigError, UserError, renamed
from mars.pool.planted_reading import read
from mars.preferences.dialogue import Template
from mars.reward.backbone import Truncation
from mars.worlds.planted_latents import gold

if TYPE_CHECKING:
    import torch

    from mars.reward.scoring import ModelScorer


@dataclass(frozen=True)
class RewardJudgeConfig:
    """conf/judge/reward_model.yaml; the settings are those of `benchmarks.evaluate`."""

    model: str
    revision: str | None = None
    trust_remote_code: bool = False
    template: Template | None = None
    max_length: int | None = None
    truncation: Truncation | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    token_budget: int = 4096

    def __post_init__(self) -> None:
        for name in ("max_length", "token_budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be at least 1, not {value}")


class RewardJudge(Free):
    """Prefers what a reward model scores higher."""

    def __init__(self, config: RewardJudgeConfig, cache: Path, device: torch.device):
        from benchmarks.models import model_files, pretrained  # which import torch

        names = ("template", "max_length", "truncation", "dtype", "attention", "trust_remote_code", "token_budget")
        self._options = pretrained.Options(**{name: getattr(config, name) for name in names})
        with renamed("model", "judge.model"):
            self._found = model_files.find(config.model, config.revision, config.trust_remote_code)
        self._place = cache, device
        self._weights = model_files.weights(self._found)
        self.identity = {"name": "reward_model", "model": self._weights, **self._options.unusual}

    @cached_property
    def _scorer(self) -> ModelScorer:
        from benchmarks.models import pretrained
        from mars.reward.scoring import ModelScorer

        judged = pretrained.load(self._found, self._options, *self._place)
        return ModelScorer(judged.model, judged.texts, self._options.token_budget)

    def ask(self, showings: Sequence[Showing]) -> list[Answer]:
        """Raises UserError for a score that is not finite, and as `benchmarks.evaluate` does."""
        scores = self._scorer((s.prompt, reply) for s in showings for reply in (s.first, s.second)).reshape(-1, 2)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        answers = []
        for showing, (one, other) in zip(showings, scores.tolist(), strict=True):
            if not (math.isfinite(one) and math.isfinite(other)):
                start = " ".join(showing.prompt[-1].content.split())[:60]
                bad = other if math.isfinite(one) else one
                raise UserError(
                    f'judge.model: {self._found.name} scores a reply to "{start}" {bad} (its training diverged or it '
                    "overflowed; judge.dtype=float32 may help)"
                )
            answers.append(_higher(one, other, self._weights, now))
        return answers


@dataclass(frozen=True)
class GoldConfig:
    """conf/judge/gold.yaml: nothing to set."""


class GoldJudge(Free):
    """Prefers the higher gold reward of what a reply says, as `mars.pool.planted_reading` reads it."""

    def __init__(self, config: GoldConfig, cache: Path, device: torch.device):
        self.identity: dict[str, Any] = {"name": "gold", "world": "planted"}

    def ask(self, showings: Sequence[Showing]) -> list[Answer]:
        """Raises ConfigError for a prompt that is not known to be planted."""
        for showing in showings:
            if not showing.id:
                start = " ".join(showing.prompt[-1].content.split())[:60]
                raise ConfigError(
                    f'judge: gold knows planted prompts by their pair\'s id, and "{start}" has none (give every row '
                    'its "id", or the dataset that asks it, dataset=planted)'
                )
        return [_higher(gold(read(s.first, s.id)), gold(read(s.second, s.id)), "planted", "") for s in showings]


def _higher(one: float, other: float, model: str, date: str) -> Answer:
    said = "A" if one > other else "B" if one < other else "tie"
    return Answer(said, f"{one:.6g} {other:.6g}", model=model, date=date)


REWARD_MODEL = (RewardJudgeConfig, RewardJudge)
GOLD = (GoldConfig, GoldJudge)

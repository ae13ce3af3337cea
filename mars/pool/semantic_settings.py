"""Settings of the semantic layer (conf/semantic/*.yaml): which pairs are close, what rewrites them, what is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mars.config import ConfigError, build
from mars.reward.backbone import BackboneConfig


@dataclass(frozen=True)
class SemanticConfig:
    """What is close, what rewrites it and which rewrites are taken.

    at: the quantile of the distances (0.25 = the closest quarter) or the distance itself. which: `all` close pairs are
    rewritten before the first round, as in the authors' code, or the `selected` ones, when a variant of theirs is first
    drawn, as in the paper's text; this changes how many are rewritten, not how. min_gain: the distance a rewrite must
    add under `strict`.
    """

    encoder: BackboneConfig
    writer: dict[str, Any]  # an augmenter's settings
    threshold: Literal["mean", "quantile", "value"] = "mean"
    at: float | None = None
    which: Literal["selected", "all"] = "all"
    tries_rejected: int = 5
    tries_chosen: int = 5
    accept: Literal["any", "strict"] = "any"
    min_gain: float = 0.0

    def __post_init__(self) -> None:
        if self.threshold == "mean" and self.at is not None:
            raise ValueError(f"at: {self.at} has no use with threshold=mean (leave it null)")
        if self.threshold != "mean":
            top = 1 if self.threshold == "quantile" else 2
            if self.at is None or not 0 <= self.at <= top:
                raise ValueError(f"at: threshold={self.threshold} needs a number in [0, {top}], not {self.at}")
        for name in ("tries_rejected", "tries_chosen"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: must be at least 0, not {getattr(self, name)}")
        if self.tries_rejected + self.tries_chosen == 0:
            raise ValueError("tries_rejected: with 0 tries of either side nothing can be rewritten (semantic=off)")
        if not 0 <= self.min_gain <= 2:
            raise ValueError(f"min_gain: must be in [0, 2], not {self.min_gain}")
        if self.min_gain and self.accept == "any":
            raise ValueError(f"min_gain: {self.min_gain} has an effect with accept=strict only")


def semantic_config(values: Mapping[str, Any]) -> SemanticConfig | None:
    """The `semantic` group of a run's config; None where it is off. Raises ConfigError."""
    settings = dict(values)
    if settings.pop("name", None) == "off":
        if settings:
            raise ConfigError(f"semantic.{next(iter(settings))}: has no use with semantic=off (try semantic=paper)")
        return None
    return build(SemanticConfig, settings, "semantic")

"""Which policy a benchmark has write, and how it is sampled: settings that benchmarks share, read without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mars.preferences.dialogue import Template

RECORDED = ("policy_template", "temperature", "top_p", "max_new_tokens")  # in a protocol, beside the policy's weights


@dataclass(frozen=True)
class Sampled:
    """policy: a hub id, a directory, `tiny_writer` or `tiny_writer:N`, None for none. seed: of its samples.

    The rest is as in `benchmarks.models.policy.PolicyConfig`. Raises ValueError naming the field that cannot be used.
    """

    policy: str | None = None
    policy_revision: str | None = None
    policy_template: Template | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature: must be above 0, not {self.temperature} (at 0 all candidates are alike)")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is not in (0, 1]")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens: must be at least 1, not {self.max_new_tokens}")

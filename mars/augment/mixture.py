"""Variants of several augmenters in one pool: its parts take turns over the variants of a text.

Variant k of a text is from the k-th part in alphabetical order of their labels, from a start that depends on the pair:
so every part makes an equal share, whatever the width of the pool, and both sides of a pair begin with the same part.
A part makes what it would make alone, its own variants 0, 1, … in order.

    python -m mars.run augmenter=mixture
    python -m mars.run augmenter=mixture +augmenter@augmenter.parts.strong=eda augmenter.parts.strong.alpha_swap=0.5
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars.augment.named import augmenter_of
from mars.augment.variant import Augmenter, Request, Variant, why_unchanged
from mars.config import ConfigError

if TYPE_CHECKING:
    import torch

_VERSION = 1  # of how variants are dealt out: stored ones of another version are not read


@dataclass(frozen=True)
class MixtureConfig:
    """parts: the settings of each augmenter, `name` included, by its label. seed: added to those of the parts."""

    parts: dict[str, dict[str, Any]]
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError("parts: a mixture has two augmenters or more (+augmenter@augmenter.parts.LABEL=NAME)")


class Mixture:
    """Augmenter: variant k of a text is made by part (start + k) mod P, as that part's variant ⌊k / P⌋."""

    name = "mixture"
    together = 1

    def __init__(self, parts: Mapping[str, Augmenter], seed: int = 0):
        self._labels, self._seed = sorted(parts), seed
        self._parts = dict(parts)
        self.batch = min(part.batch for part in parts.values())
        described = [
            {"label": label, "name": parts[label].name, "settings": parts[label].settings} for label in self._labels
        ]
        self.settings: Mapping[str, Any] = {"seed": seed, "parts": described, "version": _VERSION}

    def identity(self, request: Request) -> str:
        """The part that begins, and what shapes the variants of each part."""
        own = dict.fromkeys(self._parts[label].identity(request) for label in self._labels)
        return "\0".join([str(self._start(request)), *own])

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order; its parameters name the part. Raises what a part raises."""
        dealt = [self._dealt(request) for request in requests]
        made: dict[int, Variant] = {}
        for label in self._labels:
            rows = [row for row, (part, _) in enumerate(dealt) if part == label]
            variants = self._parts[label].make([dealt[row][1] for row in rows])
            for row, variant in zip(rows, variants, strict=True):
                made[row] = dataclasses.replace(variant, parameters={**variant.parameters, "part": label})
        return [made[row] for row in range(len(requests))]

    def unchanged(self, request: Request) -> str:
        """The part, and why its variant equals its source."""
        label, own = self._dealt(request)
        return f"{label}: {why_unchanged(self._parts[label], own, Variant(request.source, ''))}"

    def _dealt(self, request: Request) -> tuple[str, Request]:
        """(the part's label, what is asked of it)."""
        count = len(self._labels)
        label = self._labels[(self._start(request) + request.number) % count]
        return label, request._replace(number=request.number // count)

    def _start(self, request: Request) -> int:
        key = f"{self._seed}/{request.pair.id}".encode(errors="surrogatepass")
        return int.from_bytes(blake2b(key, digest_size=4).digest(), "big") % len(self._labels)


def _mixture(config: MixtureConfig, cache: Path, device: torch.device) -> Mixture:
    parts = {}
    for label, settings in config.parts.items():
        path = f"augmenter.parts.{label}"
        part = augmenter_of(settings, path, cache, device, config.seed)
        if part.name in ("none", "mixture") or part.together > 1 or hasattr(part, "usage"):
            raise ConfigError(
                f'{path}.name: "{part.name}" is no part of a mixture, whose parts make variants one by one and without '
                "a model (known: eda, rules, planted)"
            )
        parts[label] = part
    return Mixture(parts, config.seed)


AUGMENTER = (MixtureConfig, _mixture)

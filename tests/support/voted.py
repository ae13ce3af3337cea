"""A dataset whose annotators vote: planted rows, most of which not all annotators agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mars.preferences.pair import Pair, Preferences
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

AGREEMENTS = (1.0, 0.75, 0.5, 2 / 3)


@dataclass(frozen=True)
class VotedConfig(PlantedConfig):
    """The settings of planted rows."""

    name: Literal["voted"] = "voted"  # type: ignore[assignment]


def voted(pairs: Sequence[Pair]) -> list[Pair]:
    """`pairs` with agreements in turn and strengths from 0 to 3."""
    return [replace(pair, agreement=AGREEMENTS[i % 4], strength=float((2 * i + 1) % 4)) for i, pair in enumerate(pairs)]


def load(config: VotedConfig) -> Preferences:
    """Base, validation and test pairs with votes."""
    data = load_planted(config)
    tests = {split: voted(pairs) for split, pairs in data.tests.items()}
    return replace(data, name="voted", base=voted(data.base), validation=voted(data.validation), tests=tests)


DATASET = (VotedConfig, load)

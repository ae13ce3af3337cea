"""Augmenters by name: which there are, and one made from its settings.

A mixture makes its parts from here, a run its pool and the writer of its semantic layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars.augment.variant import Augmenter
from mars.config import build
from mars.plugins import find

if TYPE_CHECKING:  # names of augmenters are known before torch is loaded
    import torch

# "module:Name" of (settings dataclass, (settings, cache directory, device) → augmenter)
AUGMENTERS = {
    "none": "mars.augment.variant:AUGMENTER",
    "eda": "mars.augment.eda:AUGMENTER",
    "rules": "mars.augment.rules:AUGMENTER",
    "planted": "mars.augment.planted:AUGMENTER",
    "gaussian": "mars.augment.gaussian:AUGMENTER",
    "mixture": "mars.augment.mixture:AUGMENTER",
    "paraphrase": "mars.augment.paraphrase:AUGMENTER",
    "instruct": "mars.augment.instruct:AUGMENTER",
}


def augmenter_of(settings: Mapping[str, Any], path: str, cache: Path, device: torch.device, seed: int = 0) -> Augmenter:
    """The augmenter of conf/augmenter/*.yaml. path: the config key. Raises ConfigError.

    seed: added to the augmenter's own, where it has one.
    """
    values = dict(settings)
    config_type, make = find("augmenters", AUGMENTERS, values.pop("name", ""), f"{path}.name")
    config = build(config_type, values, path)
    if seed and hasattr(config, "seed"):
        config = dataclasses.replace(config, seed=config.seed + seed)
    made: Augmenter = make(config, cache, device)
    return made

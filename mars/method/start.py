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
from mars.config import naming_runs
from mars.method.measure import settle
from mars.method.state import State
from mars.method.training import Course, Learner, TrainingSet, new_optimizer, train_round
from mars.preferences.pair import Pair, pairs_digest
from mars.reward.engine import Engine
from mars.reward.model import autocast_dtype, weights_id

log = logging.getLogger(__name__)


def warm_start(engine: Engine, base: Sequence[Pair], course: Course, seed: int, cache: Path) -> nn.Module:
    """The reward model after `course` over the base pairs; trained where no earlier run left it in `cache`.

    seed: of the head and of the order of pairs.
    """
    numbers = engine.texts.add_pairs(base)
    model = engine.new_model(seed)
    key = files.digest(
        {
            "backbone": asdict(engine.backbone),
            "weights": weights_id(engine.backbone),
            "precision": [engine.device.type, str(autocast_dtype(engine.backbone, engine.device))],
            "base": pairs_digest(base),
            **naming_runs({"train": asdict(course.train)}),
            "batch_size": course.batch_size,
            "epochs": course.epochs,
            "seed": seed,
        }
    )
    file = cache / "starts" / f"{engine.backbone.name}-{key[:16]}.pt"
    saved = State.load(file)
    if saved is None:
        log.info("warming up the study's start: %d epochs on the base pairs", course.epochs)
        settle(engine, model, course.train)
        torch.manual_seed(seed)  # dropout only: the head is drawn already
        data = TrainingSet(numbers, None, [pair.id for pair in base])
        learner = Learner(model, new_optimizer(model, course.train))
        train_round(engine, learner, data, course, np.random.default_rng(seed))
        if State.load(file) is None:  # another run may have been faster; its bytes are then everybody's
            State(model=model.state_dict()).save(file)
        saved = State.load(file)
    assert saved is not None
    assert saved.model is not None
    model.load_state_dict(saved.model)
    return model

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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mars import files
from mars.config import UserError, naming_runs
from mars.method import checkpoint
from mars.method.measure import settle
from mars.method.optimizer import new_optimizer
from mars.method.targets import Targets
from mars.method.training import Course, Learner, TrainingSet, train_round
from mars.preferences.pair import Pair, pairs_digest
from mars.progress import counted
from mars.reward.engine import Engine
from mars.reward.model import autocast_dtype
from mars.reward.weights import weights_id

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
    file = cache / "starts" / f"{engine.backbone.name}-{key[:16]}.safetensors"
    ranks = engine.ranks
    saved = ranks.told(lambda: _saved(file))
    if saved is None:
        log.info("warming up the study's start: %s on the base pairs", counted(course.epochs, "epoch"))
        settle(engine, model, course.train)
        torch.manual_seed(ranks.seed(seed))  # dropout only: the head is drawn already
        targets = Targets.of(base, course.train)
        ids = [pair.id for pair in base]
        data = TrainingSet(numbers, targets.weights, ids, agreement=targets.agreement, offsets=targets.offsets)
        learner = Learner(model, new_optimizer(model, course.train))
        train_round(engine, learner, data, course, np.random.default_rng(seed))
        start = checkpoint.moving(model)
        if ranks.first and _saved(file) is None:  # another run may have been faster; its bytes are then everybody's
            _save(start, file)
        saved = ranks.told(lambda: _saved(file))
    if saved is None:
        raise UserError(f"{file}: the study's start was removed while the run began (start it again)")
    checkpoint.restore(model, saved)
    return model


def _save(start: dict[str, torch.Tensor], file: Path) -> None:
    with files.aside(file) as aside:
        save_file(start, aside, {"sha256": files.state_digest(start)})


def _saved(file: Path) -> dict[str, torch.Tensor] | None:
    """The start in `file`; None where there is none, or another than was written."""
    try:
        with safe_open(file, "pt") as opened:
            start, told = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError):
        start, told = {}, {}
    if (told or {}).get("sha256") == files.state_digest(start):
        return start
    log.warning("%s is damaged: the study's start is trained again", file)
    return None
